// PASSES: fold-batch-norm,fold,dce
// A factor per channel goes into the weight; the offset joins the bias.
func.func @main(%x: tensor<N x 3 x 8 x 8 x f32>) -> (tensor<N x 20 x 6 x 6 x f32>) {
  %0 = graph.weight @conv.weight : tensor<20x3x3x3xf32>
  %1 = graph.convolution %x, %0 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<20x3x3x3xf32> -> tensor<N x 20 x 6 x 6 x f32>
  %2 = graph.weight @conv.bias : tensor<20xf32>
  %3 = graph.broadcast %2 {axes = array<i64: 1>} : tensor<20xf32> -> tensor<N x 20 x 6 x 6 x f32>
  %4 = graph.add %1, %3 : tensor<N x 20 x 6 x 6 x f32>
  %5 = graph.weight @bn.variance : tensor<20xf32>
  %6 = graph.weight @bn.scale : tensor<20xf32>
  %7 = graph.weight @bn.bias : tensor<20xf32>
  %8 = graph.weight @bn.mean : tensor<20xf32>
  %9 = graph.mul %5, %5 : tensor<20xf32>
  %10 = graph.constant "1e-05" : tensor<f32>
  %11 = graph.broadcast %10 {axes = array<i64>} : tensor<f32> -> tensor<20xf32>
  %12 = graph.add %9, %11 : tensor<20xf32>
  %13 = graph.rsqrt %12 : tensor<20xf32>
  %14 = graph.mul %6, %13 : tensor<20xf32>
  %15 = graph.mul %8, %14 : tensor<20xf32>
  %16 = graph.sub %7, %15 : tensor<20xf32>
  %17 = graph.broadcast %14 {axes = array<i64: 1>} : tensor<20xf32> -> tensor<N x 20 x 6 x 6 x f32>
  %18 = graph.broadcast %16 {axes = array<i64: 1>} : tensor<20xf32> -> tensor<N x 20 x 6 x 6 x f32>
  %19 = graph.mul %4, %17 : tensor<N x 20 x 6 x 6 x f32>
  %20 = graph.add %19, %18 : tensor<N x 20 x 6 x 6 x f32>
  %21 = graph.relu %20 : tensor<N x 20 x 6 x 6 x f32>
  func.return %21 : tensor<N x 20 x 6 x 6 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x 8 x 8 x f32>) -> tensor<N x 20 x 6 x 6 x f32> {
    %0 = graph.weight @conv.weight.folded : tensor<20x3x3x3xf32>
    %1 = graph.convolution %x, %0 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<20x3x3x3xf32> -> tensor<N x 20 x 6 x 6 x f32>
    %2 = graph.weight @conv.bias.folded : tensor<20xf32>
    %3 = graph.broadcast %2 {axes = array<i64: 1>} : tensor<20xf32> -> tensor<N x 20 x 6 x 6 x f32>
    %4 = graph.add %1, %3 : tensor<N x 20 x 6 x 6 x f32>
    %5 = graph.relu %4 : tensor<N x 20 x 6 x 6 x f32>
    func.return %5 : tensor<N x 20 x 6 x 6 x f32>
  }
}
