// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3}
// Contraction as schedule leaves it: a product and what follows it.
func.func @main(%x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<4x8xf32>
  %1 = graph.contract %x, %0 "mk,kn->mn" : tensor<2x4xf32>, tensor<4x8xf32> -> tensor<2x8xf32>
  %2 = graph.relu %1 : tensor<2x8xf32>
  func.return %2 : tensor<2x8xf32>
}
// -----
builtin.module @main {
  func.func @contraction_0(%x: memref<2x4xf32> {kernel.name = "x", kernel.shape = ["2", "4"], kernel.dtype = "f32"}, %w: memref<4x8xf32> {kernel.name = "w", kernel.shape = ["4", "8"], kernel.dtype = "f32", kernel.role = "weight"}, %y: memref<2x8xf32> {kernel.name = "y", kernel.shape = ["2", "8"], kernel.dtype = "f32"}) attributes {kernel.schedule = "Level(n = 8 parallel; w -> panel) | Level(m = 2) | Vector(n x 8, unroll m*n)"} {
    %acc = memref.alloc() : memref<2x8xf32>
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} outs(%acc : memref<2x8xf32>) attrs =  {loops = {m = 2 : i64, n = 8 : i64}} {
    ^bb0(%0: f32):
      %1 = arith.constant 0.000000e+00 : f32
      linalg.yield %1 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d2, d1)>, affine_map<(d0, d1, d2) -> (d0, d1)>], iterator_types = ["parallel", "parallel", "reduction"]} ins(%x, %w : memref<2x4xf32>, memref<4x8xf32>) outs(%acc : memref<2x8xf32>) attrs =  {loops = {m = 2 : i64, n = 8 : i64, k = 4 : i64}} {
    ^bb0(%2: f32, %3: f32, %4: f32):
      %5 = arith.mulf %2, %3 : f32
      %6 = arith.addf %4, %5 : f32
      linalg.yield %6 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%acc : memref<2x8xf32>) outs(%y : memref<2x8xf32>) attrs =  {loops = {m = 2 : i64, n = 8 : i64}} {
    ^bb0(%7: f32, %8: f32):
      %9 = arith.constant 0.000000e+00 : f32
      %10 = arith.maximumf %7, %9 : f32
      linalg.yield %10 : f32
    }
    func.return
  }
  func.func @main(%x: memref<2x4xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<2, 4>}, %y: memref<2x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<2, 8>}) {
    %0 = kernel.weight "w" : memref<4x8xf32>
    kernel.call @contraction_0(%x, %0, %y) : memref<2x4xf32>, memref<4x8xf32>, memref<2x8xf32>
    func.return
  }
}
