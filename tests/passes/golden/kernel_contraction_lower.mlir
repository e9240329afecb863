// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3},lower{target=x86-64-v3}
// Contraction as lower leaves it: a product and what follows it.
func.func @main(%x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<4x8xf32>
  %1 = graph.contract %x, %0 "mk,kn->mn" : tensor<2x4xf32>, tensor<4x8xf32> -> tensor<2x8xf32>
  %2 = graph.relu %1 : tensor<2x8xf32>
  func.return %2 : tensor<2x8xf32>
}
// -----
builtin.module @main {
  func.func private @contraction_0_2x8x4_0(%x: memref<2x4xf32, strided<[4, 1], offset: ?>>, %w: memref<4x8xf32, strided<[8, 1], offset: ?>, "panel">, %y: memref<2x8xf32, strided<[8, 1], offset: ?>>) {
    %0 = arith.constant 0.000000e+00 : f32
    %1 = vector.broadcast %0 : f32 to vector<8xf32>
    %2 = arith.constant 0 : index
    %3 = arith.constant 4 : index
    %4 = arith.constant 1 : index
    %5, %6 = scf.for %k = %2 to %3 step %4 iter_args(%7 = %1, %8 = %1) -> (vector<8xf32>, vector<8xf32>) {
      %9 = memref.load %x[%2, %k] : memref<2x4xf32, strided<[4, 1], offset: ?>>
      %10 = vector.broadcast %9 : f32 to vector<8xf32>
      %11 = vector.load %w[%k, %2] : memref<4x8xf32, strided<[8, 1], offset: ?>, "panel">, vector<8xf32>
      %12 = vector.fma %10, %11, %7 : vector<8xf32>
      %13 = memref.load %x[%4, %k] : memref<2x4xf32, strided<[4, 1], offset: ?>>
      %14 = vector.broadcast %13 : f32 to vector<8xf32>
      %15 = vector.fma %14, %11, %8 : vector<8xf32>
      scf.yield %12, %15 : vector<8xf32>, vector<8xf32>
    }
    %16 = arith.maximumf %5, %1 : vector<8xf32>
    vector.store %16, %y[%2, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %17 = arith.maximumf %6, %1 : vector<8xf32>
    vector.store %17, %y[%4, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    func.return
  }
  func.func @contraction_0(%x: memref<2x4xf32> {kernel.name = "x", kernel.shape = ["2", "4"], kernel.dtype = "f32"}, %w: memref<1x4x8xf32, strided<[32, 8, 1]>, "panel"> {kernel.name = "w", kernel.shape = ["1", "4", "8"], kernel.dtype = "f32", kernel.role = "weight", kernel.pack = {shape = [4 : i64, 8 : i64], order = [], tiles = {"1" = 8 : i64}, lanes = 8 : i64}}, %y: memref<2x8xf32> {kernel.name = "y", kernel.shape = ["2", "8"], kernel.dtype = "f32"}, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"}) attributes {kernel.schedule = "Level(n = 8 parallel; w -> panel) | Level(m = 2) | Vector(n x 8, unroll m*n)", kernel.tiles = "1", kernel.applied = 3 : i64} {
    %0 = arith.constant 1 : index
    %1 = arith.constant 8 : index
    scf.for %n = %begin to %end step %0 {
      %2 = arith.muli %n, %1 : index
      %3 = arith.divui %2, %1 : index
      %w_1 = memref.subview %w[%3, 0, 0] [1, 4, 8] [1, 1, 1] : memref<1x4x8xf32, strided<[32, 8, 1]>, "panel"> to memref<4x8xf32, strided<[8, 1], offset: ?>, "panel">
      %y_1 = memref.subview %y[0, %2] [2, 8] [1, 1] : memref<2x8xf32> to memref<2x8xf32, strided<[8, 1], offset: ?>>
      %4 = "memref.cast"(%x) : (memref<2x4xf32>) -> memref<2x4xf32, strided<[4, 1], offset: ?>>
      func.call @contraction_0_2x8x4_0(%4, %w_1, %y_1) : (memref<2x4xf32, strided<[4, 1], offset: ?>>, memref<4x8xf32, strided<[8, 1], offset: ?>, "panel">, memref<2x8xf32, strided<[8, 1], offset: ?>>) -> ()
    }
    func.return
  }
  func.func @main(%x: memref<2x4xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<2, 4>}, %y: memref<2x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<2, 8>}) {
    %0 = kernel.weight "w" : memref<4x8xf32>
    %1 = kernel.weight "w.packed.8.4x8" : memref<1x4x8xf32, strided<[32, 8, 1]>, "panel">
    kernel.call @contraction_0(%x, %1, %y) : memref<2x4xf32>, memref<1x4x8xf32, strided<[32, 8, 1]>, "panel">, memref<2x8xf32>
    func.return
  }
}
