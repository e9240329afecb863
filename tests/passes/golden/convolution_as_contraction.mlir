// PASSES: select-layout,move-transposes,fold,simplify,dce
// A 1x1 convolution is a contraction over channels, a global pool a reduction.
func.func @main(%x: tensor<N x H x W x 8 x f32>) -> (tensor<N x 20 x f32>) {
  %0 = graph.transpose %x {permutation = array<i64: 0, 3, 1, 2>} : tensor<N x H x W x 8 x f32> -> tensor<N x 8 x H x W x f32>
  %1 = graph.weight @a : tensor<20x8x1x1xf32>
  %2 = graph.convolution %0, %1 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 8 x H x W x f32>, tensor<20x8x1x1xf32> -> tensor<N x 20 x H x W x f32>
  %3 = graph.relu %2 : tensor<N x 20 x H x W x f32>
  %4 = graph.reduce %3 "max" {axes = array<i64: 2, 3>} : tensor<N x 20 x H x W x f32> -> tensor<N x 20 x f32>
  func.return %4 : tensor<N x 20 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x H x W x 8 x f32>) -> tensor<N x 20 x f32> {
    %0 = graph.weight @a.reshaped : tensor<20x8xf32>
    %1 = graph.contract %x, %0 "nabc,oc->nabo" : tensor<N x H x W x 8 x f32>, tensor<20x8xf32> -> tensor<N x H x W x 20 x f32>
    %2 = graph.relu %1 : tensor<N x H x W x 20 x f32>
    %3 = graph.reduce %2 "max" {axes = array<i64: 1, 2>} : tensor<N x H x W x 20 x f32> -> tensor<N x 20 x f32>
    func.return %3 : tensor<N x 20 x f32>
  }
}
