// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3}
// Transpose as schedule leaves it: of 8 x 4.
func.func @main(%x: tensor<8x4xf32> {graph.name = "x"}) -> (tensor<4x8xf32> {graph.name = "y"}) {
  %0 = graph.transpose %x {permutation = array<i64: 1, 0>} : tensor<8x4xf32> -> tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
// -----
builtin.module @main {
  func.func @elementwise_0(%x: memref<8x4xf32> {kernel.name = "x", kernel.shape = ["8", "4"], kernel.dtype = "f32"}, %y: memref<4x8xf32> {kernel.name = "y", kernel.shape = ["4", "8"], kernel.dtype = "f32"}) attributes {kernel.schedule = "Level(d0 ~ 8 parallel, d1 ~ 8 parallel) | Vector(d1 x 8, unroll d0)"} {
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d1, d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%x : memref<8x4xf32>) outs(%y : memref<4x8xf32>) attrs =  {loops = {d0 = 4 : i64, d1 = 8 : i64}} {
    ^bb0(%0: f32, %1: f32):
      linalg.yield %0 : f32
    }
    func.return
  }
  func.func @main(%x: memref<8x4xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<8, 4>}, %y: memref<4x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<4, 8>}) {
    kernel.call @elementwise_0(%x, %y) : memref<8x4xf32>, memref<4x8xf32>
    func.return
  }
}
