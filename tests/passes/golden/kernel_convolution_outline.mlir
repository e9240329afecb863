// PASSES: fuse,outline
// Convolution as outline leaves it: 3x3, channels last.
func.func @main(%x: tensor<1x4x4x2xf32> {graph.name = "x"}) -> (tensor<1x2x2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<3x3x2x8xf32>
  %1 = graph.convolution %x, %0 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<1x4x4x2xf32>, tensor<3x3x2x8xf32> -> tensor<1x2x2x8xf32>
  func.return %1 : tensor<1x2x2x8xf32>
}
// -----
builtin.module @main {
  func.func @convolution_0(%x: memref<4x4x2xf32> {kernel.name = "x", kernel.shape = ["4", "4", "2"], kernel.dtype = "f32"}, %w: memref<3x3x2x8xf32> {kernel.name = "w", kernel.shape = ["3", "3", "2", "8"], kernel.dtype = "f32", kernel.role = "weight"}, %y: memref<2x2x8xf32> {kernel.name = "y", kernel.shape = ["2", "2", "8"], kernel.dtype = "f32"}) {
    %acc = memref.alloc() : memref<2x2x8xf32>
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} outs(%acc : memref<2x2x8xf32>) attrs =  {loops = {oh = 2 : i64, ow = 2 : i64, oc = 8 : i64}} {
    ^bb0(%0: f32):
      %1 = arith.constant 0.000000e+00 : f32
      linalg.yield %1 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2, d3, d4, d5) -> ((d0 + d3), (d1 + d4), d5)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d3, d4, d5, d2)>, affine_map<(d0, d1, d2, d3, d4, d5) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%x, %w : memref<4x4x2xf32>, memref<3x3x2x8xf32>) outs(%acc : memref<2x2x8xf32>) attrs =  {loops = {oh = 2 : i64, ow = 2 : i64, oc = 8 : i64, kh = 3 : i64, kw = 3 : i64, ic = 2 : i64}} {
    ^bb0(%2: f32, %3: f32, %4: f32):
      %5 = arith.mulf %2, %3 : f32
      %6 = arith.addf %4, %5 : f32
      linalg.yield %6 : f32
    }
    linalg.generic {indexing_maps = [affine_map<(d0, d1, d2) -> (d0, d1, d2)>, affine_map<(d0, d1, d2) -> (d0, d1, d2)>], iterator_types = ["parallel", "parallel", "parallel"]} ins(%acc : memref<2x2x8xf32>) outs(%y : memref<2x2x8xf32>) attrs =  {loops = {oh = 2 : i64, ow = 2 : i64, oc = 8 : i64}} {
    ^bb0(%7: f32, %8: f32):
      linalg.yield %7 : f32
    }
    func.return
  }
  func.func @main(%x: memref<1x4x4x2xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<1, 4, 4, 2>}, %y: memref<1x2x2x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<1, 2, 2, 8>}) {
    %0 = kernel.weight "w" : memref<3x3x2x8xf32>
    %1 = kernel.view %x dims ["4", "4", "2"] : memref<1x4x4x2xf32> to memref<4x4x2xf32>
    %2 = kernel.view %y dims ["2", "2", "8"] : memref<1x2x2x8xf32> to memref<2x2x8xf32>
    kernel.call @convolution_0(%1, %0, %2) : memref<4x4x2xf32>, memref<3x3x2x8xf32>, memref<2x2x8xf32>
    func.return
  }
}
