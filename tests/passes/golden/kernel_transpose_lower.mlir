// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3},lower{target=x86-64-v3}
// Transpose as lower leaves it: of 8 x 4.
func.func @main(%x: tensor<8x4xf32> {graph.name = "x"}) -> (tensor<4x8xf32> {graph.name = "y"}) {
  %0 = graph.transpose %x {permutation = array<i64: 1, 0>} : tensor<8x4xf32> -> tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
// -----
builtin.module @main {
  func.func private @elementwise_0_4x8_0(%x: memref<8x4xf32, strided<[4, 1], offset: ?>>, %y: memref<4x8xf32, strided<[8, 1], offset: ?>>) {
    %0 = arith.constant 0 : index
    %1 = arith.constant 8 : index
    %2 = arith.constant 4 : index
    %3 = vector.create_mask %2 : vector<8xi1>
    %4 = arith.constant 0.000000e+00 : f32
    %5 = vector.broadcast %4 : f32 to vector<8xf32>
    %6 = arith.constant 1 : index
    %7 = arith.constant 2 : index
    %8 = arith.constant 3 : index
    %9 = arith.constant 5 : index
    %10 = arith.constant 6 : index
    %11 = arith.constant 7 : index
    scf.for %d1 = %0 to %1 step %1 {
      %12 = vector.maskedload %x[%d1, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %13 = arith.addi %d1, %6 : index
      %14 = vector.maskedload %x[%13, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %15 = arith.addi %d1, %7 : index
      %16 = vector.maskedload %x[%15, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %17 = arith.addi %d1, %8 : index
      %18 = vector.maskedload %x[%17, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %19 = arith.addi %d1, %2 : index
      %20 = vector.maskedload %x[%19, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %21 = arith.addi %d1, %9 : index
      %22 = vector.maskedload %x[%21, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %23 = arith.addi %d1, %10 : index
      %24 = vector.maskedload %x[%23, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %25 = arith.addi %d1, %11 : index
      %26 = vector.maskedload %x[%25, %0], %3, %5 : memref<8x4xf32, strided<[4, 1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
      %27 = vector.shuffle %12, %14 [0, 8, 2, 10, 4, 12, 6, 14] : vector<8xf32>, vector<8xf32>
      %28 = vector.shuffle %12, %14 [1, 9, 3, 11, 5, 13, 7, 15] : vector<8xf32>, vector<8xf32>
      %29 = vector.shuffle %16, %18 [0, 8, 2, 10, 4, 12, 6, 14] : vector<8xf32>, vector<8xf32>
      %30 = vector.shuffle %16, %18 [1, 9, 3, 11, 5, 13, 7, 15] : vector<8xf32>, vector<8xf32>
      %31 = vector.shuffle %20, %22 [0, 8, 2, 10, 4, 12, 6, 14] : vector<8xf32>, vector<8xf32>
      %32 = vector.shuffle %20, %22 [1, 9, 3, 11, 5, 13, 7, 15] : vector<8xf32>, vector<8xf32>
      %33 = vector.shuffle %24, %26 [0, 8, 2, 10, 4, 12, 6, 14] : vector<8xf32>, vector<8xf32>
      %34 = vector.shuffle %24, %26 [1, 9, 3, 11, 5, 13, 7, 15] : vector<8xf32>, vector<8xf32>
      %35 = vector.shuffle %27, %29 [0, 1, 8, 9, 4, 5, 12, 13] : vector<8xf32>, vector<8xf32>
      %36 = vector.shuffle %27, %29 [2, 3, 10, 11, 6, 7, 14, 15] : vector<8xf32>, vector<8xf32>
      %37 = vector.shuffle %28, %30 [0, 1, 8, 9, 4, 5, 12, 13] : vector<8xf32>, vector<8xf32>
      %38 = vector.shuffle %28, %30 [2, 3, 10, 11, 6, 7, 14, 15] : vector<8xf32>, vector<8xf32>
      %39 = vector.shuffle %31, %33 [0, 1, 8, 9, 4, 5, 12, 13] : vector<8xf32>, vector<8xf32>
      %40 = vector.shuffle %31, %33 [2, 3, 10, 11, 6, 7, 14, 15] : vector<8xf32>, vector<8xf32>
      %41 = vector.shuffle %32, %34 [0, 1, 8, 9, 4, 5, 12, 13] : vector<8xf32>, vector<8xf32>
      %42 = vector.shuffle %32, %34 [2, 3, 10, 11, 6, 7, 14, 15] : vector<8xf32>, vector<8xf32>
      %43 = vector.shuffle %35, %39 [0, 1, 2, 3, 8, 9, 10, 11] : vector<8xf32>, vector<8xf32>
      %44 = vector.shuffle %35, %39 [4, 5, 6, 7, 12, 13, 14, 15] : vector<8xf32>, vector<8xf32>
      %45 = vector.shuffle %37, %41 [0, 1, 2, 3, 8, 9, 10, 11] : vector<8xf32>, vector<8xf32>
      %46 = vector.shuffle %37, %41 [4, 5, 6, 7, 12, 13, 14, 15] : vector<8xf32>, vector<8xf32>
      %47 = vector.shuffle %36, %40 [0, 1, 2, 3, 8, 9, 10, 11] : vector<8xf32>, vector<8xf32>
      %48 = vector.shuffle %36, %40 [4, 5, 6, 7, 12, 13, 14, 15] : vector<8xf32>, vector<8xf32>
      %49 = vector.shuffle %38, %42 [0, 1, 2, 3, 8, 9, 10, 11] : vector<8xf32>, vector<8xf32>
      %50 = vector.shuffle %38, %42 [4, 5, 6, 7, 12, 13, 14, 15] : vector<8xf32>, vector<8xf32>
      vector.store %43, %y[%0, %d1] : memref<4x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
      vector.store %45, %y[%6, %d1] : memref<4x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
      vector.store %47, %y[%7, %d1] : memref<4x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
      vector.store %49, %y[%8, %d1] : memref<4x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    }
    func.return
  }
  func.func @elementwise_0(%x: memref<8x4xf32> {kernel.name = "x", kernel.shape = ["8", "4"], kernel.dtype = "f32"}, %y: memref<4x8xf32> {kernel.name = "y", kernel.shape = ["4", "8"], kernel.dtype = "f32"}, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"}) attributes {kernel.schedule = "Level(d0 ~ 8 parallel, d1 ~ 8 parallel) | Vector(d1 x 8, unroll d0)", kernel.tiles = "1", kernel.applied = 2 : i64} {
    %0 = arith.constant 1 : index
    %1 = arith.constant 4 : index
    %2 = arith.constant 8 : index
    scf.for %d0 = %begin to %end step %0 {
      %3 = arith.remui %d0, %0 : index
      %4 = arith.divui %d0, %0 : index
      %5 = arith.muli %4, %1 : index
      %6 = arith.muli %3, %2 : index
      %x_1 = memref.subview %x[%6, %5] [8, 4] [1, 1] : memref<8x4xf32> to memref<8x4xf32, strided<[4, 1], offset: ?>>
      %y_1 = memref.subview %y[%5, %6] [4, 8] [1, 1] : memref<4x8xf32> to memref<4x8xf32, strided<[8, 1], offset: ?>>
      func.call @elementwise_0_4x8_0(%x_1, %y_1) : (memref<8x4xf32, strided<[4, 1], offset: ?>>, memref<4x8xf32, strided<[8, 1], offset: ?>>) -> ()
    }
    func.return
  }
  func.func @main(%x: memref<8x4xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<8, 4>}, %y: memref<4x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<4, 8>}) {
    kernel.call @elementwise_0(%x, %y) : memref<8x4xf32>, memref<4x8xf32>
    func.return
  }
}
