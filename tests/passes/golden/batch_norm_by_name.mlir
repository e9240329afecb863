// PASSES: fold-batch-norm,dce
// A normalisation behind a product, or its bias, goes into the weight as a whole; one of a value that others read stays.
func.func @main(%x: tensor<N x 3 x 8 x 8 x f32>, %z: tensor<N x 5 x f32>) -> (tensor<N x 4 x 6 x 6 x f32>, tensor<N x 4 x f32>, tensor<N x 4 x f32>) {
  %w = graph.weight @w : tensor<4x3x3x3xf32>
  %v = graph.weight @v : tensor<5x4xf32>
  %b = graph.weight @b : tensor<4xf32>
  %scale = graph.weight @scale : tensor<4xf32>
  %bias = graph.weight @bias : tensor<4xf32>
  %mean = graph.weight @mean : tensor<4xf32>
  %root = graph.weight @root : tensor<4xf32>
  %variance = graph.mul %root, %root : tensor<4xf32>
  %0 = graph.convolution %x, %w "nc01,oc01->no01" {dilations = array<i64: 1, 1>, high = #graph.dims<0, 0>, low = #graph.dims<0, 0>, strides = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<4x3x3x3xf32> -> tensor<N x 4 x 6 x 6 x f32>
  %1 = graph.broadcast %b {axes = array<i64: 1>} : tensor<4xf32> -> tensor<N x 4 x 6 x 6 x f32>
  %2 = graph.add %0, %1 : tensor<N x 4 x 6 x 6 x f32>
  %3 = graph.batch_norm %2, %scale, %bias, %mean, %variance {axis = 1 : i64, epsilon = 1.000000e-05 : f64} : tensor<N x 4 x 6 x 6 x f32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32> -> tensor<N x 4 x 6 x 6 x f32>
  %4 = graph.contract %z, %v "nk,kc->nc" : tensor<N x 5 x f32>, tensor<5x4xf32> -> tensor<N x 4 x f32>
  %5 = graph.batch_norm %4, %scale, %bias, %mean, %variance {axis = 1 : i64, epsilon = 1.000000e-05 : f64} : tensor<N x 4 x f32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32> -> tensor<N x 4 x f32>
  %6 = graph.contract %z, %v "nk,kc->nc" : tensor<N x 5 x f32>, tensor<5x4xf32> -> tensor<N x 4 x f32>
  %7 = graph.batch_norm %6, %scale, %bias, %mean, %variance {axis = 1 : i64, epsilon = 1.000000e-05 : f64} : tensor<N x 4 x f32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32> -> tensor<N x 4 x f32>
  %8 = graph.add %6, %7 : tensor<N x 4 x f32>
  func.return %3, %5, %8 : tensor<N x 4 x 6 x 6 x f32>, tensor<N x 4 x f32>, tensor<N x 4 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 3 x 8 x 8 x f32>, %z: tensor<N x 5 x f32>) -> (tensor<N x 4 x 6 x 6 x f32>, tensor<N x 4 x f32>, tensor<N x 4 x f32>) {
    %w = graph.weight @w : tensor<4x3x3x3xf32>
    %v = graph.weight @v : tensor<5x4xf32>
    %b = graph.weight @b : tensor<4xf32>
    %scale = graph.weight @scale : tensor<4xf32>
    %bias = graph.weight @bias : tensor<4xf32>
    %mean = graph.weight @mean : tensor<4xf32>
    %root = graph.weight @root : tensor<4xf32>
    %variance = graph.mul %root, %root : tensor<4xf32>
    %0 = graph.constant "1e-05" : tensor<f32>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<4xf32>
    %2 = graph.add %variance, %1 : tensor<4xf32>
    %3 = graph.rsqrt %2 : tensor<4xf32>
    %4 = graph.mul %scale, %3 : tensor<4xf32>
    %5 = graph.mul %mean, %4 : tensor<4xf32>
    %6 = graph.sub %bias, %5 : tensor<4xf32>
    %7 = graph.broadcast %4 {axes = array<i64: 0>} : tensor<4xf32> -> tensor<4x3x3x3xf32>
    %8 = graph.mul %w, %7 : tensor<4x3x3x3xf32>
    %9 = graph.convolution %x, %8 "nc01,oc01->no01" {strides = array<i64: 1, 1>, low = #graph.dims<0, 0>, high = #graph.dims<0, 0>, dilations = array<i64: 1, 1>, x_dilation = array<i64: 1, 1>} : tensor<N x 3 x 8 x 8 x f32>, tensor<4x3x3x3xf32> -> tensor<N x 4 x 6 x 6 x f32>
    %10 = graph.mul %b, %4 : tensor<4xf32>
    %11 = graph.add %10, %6 : tensor<4xf32>
    %12 = graph.broadcast %11 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<N x 4 x 6 x 6 x f32>
    %13 = graph.add %9, %12 : tensor<N x 4 x 6 x 6 x f32>
    %14 = graph.constant "1e-05" : tensor<f32>
    %15 = graph.broadcast %14 {axes = array<i64>} : tensor<f32> -> tensor<4xf32>
    %16 = graph.add %variance, %15 : tensor<4xf32>
    %17 = graph.rsqrt %16 : tensor<4xf32>
    %18 = graph.mul %scale, %17 : tensor<4xf32>
    %19 = graph.mul %mean, %18 : tensor<4xf32>
    %20 = graph.sub %bias, %19 : tensor<4xf32>
    %21 = graph.broadcast %18 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<5x4xf32>
    %22 = graph.mul %v, %21 : tensor<5x4xf32>
    %23 = graph.contract %z, %22 "nk,kc->nc" : tensor<N x 5 x f32>, tensor<5x4xf32> -> tensor<N x 4 x f32>
    %24 = graph.broadcast %20 {axes = array<i64: 1>} : tensor<4xf32> -> tensor<N x 4 x f32>
    %25 = graph.add %23, %24 : tensor<N x 4 x f32>
    %26 = graph.contract %z, %v "nk,kc->nc" : tensor<N x 5 x f32>, tensor<5x4xf32> -> tensor<N x 4 x f32>
    %27 = graph.batch_norm %26, %scale, %bias, %mean, %variance {axis = 1 : i64, epsilon = 1.000000e-05 : f64} : tensor<N x 4 x f32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32>, tensor<4xf32> -> tensor<N x 4 x f32>
    %28 = graph.add %26, %27 : tensor<N x 4 x f32>
    func.return %13, %25, %28 : tensor<N x 4 x 6 x 6 x f32>, tensor<N x 4 x f32>, tensor<N x 4 x f32>
  }
}
