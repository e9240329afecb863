// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3},lower{target=x86-64-v3}
// Symbolic rows as lower leaves it: rows that are known when it runs, the square of each element.
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @main(%x: tensor<M x 8 x f32> {graph.name = "x"}) -> (tensor<M x 8 x f32> {graph.name = "y"}) {
    %0 = graph.mul %x, %x : tensor<M x 8 x f32>
    func.return %0 : tensor<M x 8 x f32>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func private @elementwise_0_d0_d1_part_0(%x: memref<?xf32, strided<[1], offset: ?>>, %y: memref<?xf32, strided<[1], offset: ?>>, %d0_d1_part: index) {
    %0 = arith.constant 1 : index
    %d0_d1_some = arith.maxsi %d0_d1_part, %0 : index
    %d0_d1_before = arith.subi %d0_d1_some, %0 : index
    %1 = arith.constant 8 : index
    %d0_d1_vectors = arith.divui %d0_d1_before, %1 : index
    %d0_d1_whole = arith.muli %d0_d1_vectors, %1 : index
    %2 = arith.constant 32 : index
    %d0_d1_steps = arith.divui %d0_d1_whole, %2 : index
    %d0_d1_stepped = arith.muli %d0_d1_steps, %2 : index
    %3 = arith.constant 0 : index
    %4 = arith.constant 16 : index
    %5 = arith.constant 24 : index
    %d0_d1_left = arith.subi %d0_d1_part, %d0_d1_whole : index
    %6 = vector.create_mask %d0_d1_left : vector<8xi1>
    %7 = arith.constant 0.000000e+00 : f32
    %8 = vector.broadcast %7 : f32 to vector<8xf32>
    scf.for %d0_d1 = %3 to %d0_d1_stepped step %2 {
      %9 = vector.load %x[%d0_d1] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %10 = arith.mulf %9, %9 : vector<8xf32>
      vector.store %10, %y[%d0_d1] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %11 = arith.addi %d0_d1, %1 : index
      %12 = vector.load %x[%11] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %13 = arith.mulf %12, %12 : vector<8xf32>
      %14 = arith.addi %d0_d1, %1 : index
      vector.store %13, %y[%14] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %15 = arith.addi %d0_d1, %4 : index
      %16 = vector.load %x[%15] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %17 = arith.mulf %16, %16 : vector<8xf32>
      %18 = arith.addi %d0_d1, %4 : index
      vector.store %17, %y[%18] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %19 = arith.addi %d0_d1, %5 : index
      %20 = vector.load %x[%19] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %21 = arith.mulf %20, %20 : vector<8xf32>
      %22 = arith.addi %d0_d1, %5 : index
      vector.store %21, %y[%22] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
    }
    scf.for %d0_d1_1 = %d0_d1_stepped to %d0_d1_whole step %1 {
      %23 = vector.load %x[%d0_d1_1] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
      %24 = arith.mulf %23, %23 : vector<8xf32>
      vector.store %24, %y[%d0_d1_1] : memref<?xf32, strided<[1], offset: ?>>, vector<8xf32>
    }
    %25 = vector.maskedload %x[%d0_d1_whole], %6, %8 : memref<?xf32, strided<[1], offset: ?>>, vector<8xi1>, vector<8xf32> into vector<8xf32>
    %26 = arith.mulf %25, %25 : vector<8xf32>
    vector.maskedstore %y[%d0_d1_whole], %6, %26 : memref<?xf32, strided<[1], offset: ?>>, vector<8xi1>, vector<8xf32>
    func.return
  }
  func.func @elementwise_0(%x: memref<?xf32> {kernel.name = "x", kernel.shape = ["s0"], kernel.dtype = "f32"}, %y: memref<?xf32> {kernel.name = "y", kernel.shape = ["s0"], kernel.dtype = "f32"}, %s0: index {kernel.role = "extent", kernel.name = "s0"}, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"}) attributes {kernel.schedule = "Level(d0.d1 ~ 4096 parallel) | Vector(d0.d1 x 8, interleave 4)", kernel.tiles = "((s0 + 4095)//4096)", kernel.applied = 2 : i64} {
    %0 = arith.constant 1 : index
    %1 = arith.constant 4096 : index
    scf.for %d0_d1 = %begin to %end step %0 {
      %2 = arith.muli %d0_d1, %1 : index
      %3 = arith.subi %s0, %2 : index
      %d0_d1_part = arith.minsi %3, %1 {extent = "d0_d1_part"} : index
      %x_1 = memref.subview %x[%2] [%d0_d1_part] [1] : memref<?xf32> to memref<?xf32, strided<[1], offset: ?>>
      %y_1 = memref.subview %y[%2] [%d0_d1_part] [1] : memref<?xf32> to memref<?xf32, strided<[1], offset: ?>>
      func.call @elementwise_0_d0_d1_part_0(%x_1, %y_1, %d0_d1_part) : (memref<?xf32, strided<[1], offset: ?>>, memref<?xf32, strided<[1], offset: ?>>, index) -> ()
    }
    func.return
  }
  func.func @main(%x: memref<?x8xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<M, 8>}, %y: memref<?x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<M, 8>}) {
    %0 = kernel.size "8*M"
    %1 = kernel.view %x dims ["8*M"] : memref<?x8xf32> to memref<?xf32>
    %2 = kernel.view %y dims ["8*M"] : memref<?x8xf32> to memref<?xf32>
    kernel.call @elementwise_0(%1, %2, %0) : memref<?xf32>, memref<?xf32>, index
    func.return
  }
}
