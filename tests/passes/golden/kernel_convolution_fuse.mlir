// PASSES: fuse
// Convolution as fuse leaves it: 3x3, channels last.
func.func @main(%x: tensor<1x4x4x2xf32> {graph.name = "x"}) -> (tensor<1x2x2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<3x3x2x8xf32>
  %1 = graph.convolution %x, %0 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<1x4x4x2xf32>, tensor<3x3x2x8xf32> -> tensor<1x2x2x8xf32>
  func.return %1 : tensor<1x2x2x8xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<1x4x4x2xf32> {graph.name = "x"}) -> (tensor<1x2x2x8xf32> {graph.name = "y"}) {
    %0 = graph.weight @w : tensor<3x3x2x8xf32>
    %1 = graph.group "convolution" (%x_1 = %x : tensor<1x4x4x2xf32>, %2 = %0 : tensor<3x3x2x8xf32>) -> tensor<1x2x2x8xf32> {
      %3 = graph.convolution %x_1, %2 "n01c,01co->n01o" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<1x4x4x2xf32>, tensor<3x3x2x8xf32> -> tensor<1x2x2x8xf32>
      graph.yield %3 : tensor<1x2x2x8xf32>
    }
    func.return %1 : tensor<1x2x2x8xf32>
  }
}
