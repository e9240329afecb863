// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3}
// Symbolic rows as schedule leaves it: rows that are known when it runs, the square of each element.
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @main(%x: tensor<M x 8 x f32> {graph.name = "x"}) -> (tensor<M x 8 x f32> {graph.name = "y"}) {
    %0 = graph.mul %x, %x : tensor<M x 8 x f32>
    func.return %0 : tensor<M x 8 x f32>
  }
}
// -----
builtin.module @main attributes {graph.symbols = {M = [0 : i64]}} {
  func.func @elementwise_0(%x: memref<?xf32> {kernel.name = "x", kernel.shape = ["s0"], kernel.dtype = "f32"}, %y: memref<?xf32> {kernel.name = "y", kernel.shape = ["s0"], kernel.dtype = "f32"}, %s0: index {kernel.role = "extent", kernel.name = "s0"}) attributes {kernel.schedule = "Level(d0.d1 ~ 4096 parallel) | Vector(d0.d1 x 8, interleave 4)"} {
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>, affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} ins(%x : memref<?xf32>) outs(%y : memref<?xf32>) attrs =  {loops = {d0.d1 = "s0"}} {
    ^bb0(%0: f32, %1: f32):
      %2 = arith.mulf %0, %0 : f32
      linalg.yield %2 : f32
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
