// PASSES: fuse{max-ops=1},outline,plan-arena
// Contraction as plan-arena leaves it: a product and what follows it.
func.func @main(%x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<4x8xf32>
  %1 = graph.contract %x, %0 "mk,kn->mn" : tensor<2x4xf32>, tensor<4x8xf32> -> tensor<2x8xf32>
  %2 = graph.relu %1 : tensor<2x8xf32>
  func.return %2 : tensor<2x8xf32>
}
// -----
builtin.module @main {
  func.func @contraction_0(%x: memref<2x4xf32> {kernel.name = "x", kernel.shape = ["2", "4"], kernel.dtype = "f32"}, %w: memref<4x8xf32> {kernel.name = "w", kernel.shape = ["4", "8"], kernel.dtype = "f32", kernel.role = "weight"}, %y: memref<2x8xf32> {kernel.name = "y", kernel.shape = ["2", "8"], kernel.dtype = "f32"}) {
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
      linalg.yield %7 : f32
    }
    func.return
  }
  func.func @elementwise_0(%x: memref<16xf32> {kernel.name = "x", kernel.shape = ["16"], kernel.dtype = "f32"}, %y: memref<16xf32> {kernel.name = "y", kernel.shape = ["16"], kernel.dtype = "f32"}) {
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%x : memref<16xf32>) outs(%y : memref<16xf32>) attrs =  {loops = {d0.d1 = 16 : i64}} {
    ^bb0(%0: f32, %1: f32):
      %2 = arith.constant 0.000000e+00 : f32
      %3 = arith.maximumf %0, %2 : f32
      linalg.yield %3 : f32
    }
    func.return
  }
  func.func @main(%x: memref<2x4xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<2, 4>}, %y: memref<2x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<2, 8>}) attributes {kernel.arena = [["64", 2 : i64, 5 : i64]]} {
    %0 = kernel.buffer 0 dims ["2", "8"] : memref<2x8xf32>
    %1 = kernel.weight "w" : memref<4x8xf32>
    kernel.call @contraction_0(%x, %1, %0) : memref<2x4xf32>, memref<4x8xf32>, memref<2x8xf32>
    %2 = kernel.view %0 dims ["16"] : memref<2x8xf32> to memref<16xf32>
    %3 = kernel.view %y dims ["16"] : memref<2x8xf32> to memref<16xf32>
    kernel.call @elementwise_0(%2, %3) : memref<16xf32>, memref<16xf32>
    func.return
  }
}
