// PASSES: fuse,outline
// Softmax as outline leaves it: along rows of 8.
func.func @main(%x: tensor<3x8xf32> {graph.name = "x"}) -> (tensor<3x8xf32> {graph.name = "y"}) {
  %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
  %1 = graph.broadcast %0 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
  %2 = graph.sub %x, %1 : tensor<3x8xf32>
  %3 = graph.exp %2 : tensor<3x8xf32>
  %4 = graph.reduce %3 "sum" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
  %5 = graph.reciprocal %4 : tensor<3xf32>
  %6 = graph.broadcast %5 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
  %7 = graph.mul %3, %6 : tensor<3x8xf32>
  func.return %7 : tensor<3x8xf32>
}
// -----
builtin.module @main {
  func.func @rows_0(%x: memref<3x8xf32> {kernel.name = "x", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %y: memref<3x8xf32> {kernel.name = "y", kernel.shape = ["3", "8"], kernel.dtype = "f32"}) {
    %acc = memref.alloc() : memref<3xf32>
    %t = memref.alloc() : memref<3x8xf32>
    %acc1 = memref.alloc() : memref<3xf32>
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%acc : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%0: f32):
      %1 = arith.constant 0xff800000 : f32
      linalg.yield %1 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]} ins(%x : memref<3x8xf32>) outs(%acc : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64, c1 = 8 : i64}} {
    ^bb0(%2: f32, %3: f32):
      %4 = arith.maximumf %3, %2 : f32
      linalg.yield %4 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%x, %acc : memref<3x8xf32>, memref<3xf32>) outs(%t : memref<3x8xf32>) attrs =  {loops = {d0 = 3 : i64, c1 = 8 : i64}} {
    ^bb0(%5: f32, %6: f32, %7: f32):
      %8 = arith.subf %5, %6 : f32
      %9 = math.exp %8 : f32
      linalg.yield %9 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0) -> (d0)>], iterator_types = ["parallel"]} outs(%acc1 : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64}} {
    ^bb0(%10: f32):
      %11 = arith.constant 0.000000e+00 : f32
      linalg.yield %11 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>], iterator_types = ["parallel", "reduction"]} ins(%t : memref<3x8xf32>) outs(%acc1 : memref<3xf32>) attrs =  {loops = {d0 = 3 : i64, c1 = 8 : i64}} {
    ^bb0(%12: f32, %13: f32):
      %14 = arith.addf %13, %12 : f32
      linalg.yield %14 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1) -> (d0, d1)>, affine_map<(d0, d1) -> (d0)>, affine_map<(d0, d1) -> (d0, d1)>], iterator_types = ["parallel", "parallel"]} ins(%t, %acc1 : memref<3x8xf32>, memref<3xf32>) outs(%y : memref<3x8xf32>) attrs =  {loops = {d0 = 3 : i64, c1 = 8 : i64}} {
    ^bb0(%15: f32, %16: f32, %17: f32):
      %18 = arith.constant 1.000000e+00 : f32
      %19 = arith.divf %18, %16 : f32
      %20 = arith.mulf %15, %19 : f32
      linalg.yield %20 : f32
    }
    func.return
  }
  func.func @main(%x: memref<3x8xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 8>}, %y: memref<3x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 8>}) {
    kernel.call @rows_0(%x, %y) : memref<3x8xf32>, memref<3x8xf32>
    func.return
  }
}
