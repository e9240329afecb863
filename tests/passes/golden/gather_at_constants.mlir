// PASSES: simplify
// Positions known now: a slice.
func.func @main(%x: tensor<N x 6 x 4 x f32>) -> (tensor<N x 4 x f32>, tensor<N x 3 x 4 x f32>, tensor<N x 3 x 4 x f32>) {
  %0 = graph.constant "2" : tensor<i64>
  %1 = graph.reshape %0 : tensor<i64> -> tensor<1xi64>
  %2 = graph.gather %x, %1 {loops = array<i64>, axes = array<i64: 0, -1, 1>} : tensor<N x 6 x 4 x f32>, tensor<1xi64> -> tensor<N x 4 x f32>
  %3 = graph.constant "-1, -3, -5" : tensor<3xi64>
  %4 = graph.reshape %3 : tensor<3xi64> -> tensor<3x1xi64>
  %5 = graph.gather %x, %4 {loops = array<i64: 1>, axes = array<i64: 0, -1, 2>} : tensor<N x 6 x 4 x f32>, tensor<3x1xi64> -> tensor<N x 3 x 4 x f32>
  %6 = graph.constant "0, 1, 3" : tensor<3xi64>
  %7 = graph.reshape %6 : tensor<3xi64> -> tensor<3x1xi64>
  %8 = graph.gather %x, %7 {loops = array<i64: 1>, axes = array<i64: 0, -1, 2>} : tensor<N x 6 x 4 x f32>, tensor<3x1xi64> -> tensor<N x 3 x 4 x f32>
  func.return %2, %5, %8 : tensor<N x 4 x f32>, tensor<N x 3 x 4 x f32>, tensor<N x 3 x 4 x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x 6 x 4 x f32>) -> (tensor<N x 4 x f32>, tensor<N x 3 x 4 x f32>, tensor<N x 3 x 4 x f32>) {
    %0 = graph.slice %x {starts = #graph.dims<0, 2, 0>, steps = array<i64: 1, 1, 1>} : tensor<N x 6 x 4 x f32> -> tensor<N x 1 x 4 x f32>
    %1 = graph.reshape %0 : tensor<N x 1 x 4 x f32> -> tensor<N x 4 x f32>
    %2 = graph.slice %x {starts = #graph.dims<0, 5, 0>, steps = array<i64: 1, -2, 1>} : tensor<N x 6 x 4 x f32> -> tensor<N x 3 x 4 x f32>
    %3 = graph.constant "0, 1, 3" : tensor<3xi64>
    %4 = graph.reshape %3 : tensor<3xi64> -> tensor<3x1xi64>
    %5 = graph.gather %x, %4 {loops = array<i64: 1>, axes = array<i64: 0, -1, 2>} : tensor<N x 6 x 4 x f32>, tensor<3x1xi64> -> tensor<N x 3 x 4 x f32>
    func.return %1, %2, %5 : tensor<N x 4 x f32>, tensor<N x 3 x 4 x f32>, tensor<N x 3 x 4 x f32>
  }
}
