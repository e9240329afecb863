// PASSES: simplify
// Arithmetic that changes nothing, signed zeros included: x + 0.0 stays, because -0.0 + 0.0 is 0.0.
func.func @main(%x: tensor<N x f32>, %i: tensor<N x i64>) -> (tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x i64>, tensor<N x f32>, tensor<N x f32>) {
  %0 = graph.constant "1.0" : tensor<f32>
  %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %2 = graph.mul %x, %1 : tensor<N x f32>
  %3 = graph.constant "0.0" : tensor<f32>
  %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %5 = graph.sub %2, %4 : tensor<N x f32>
  %6 = graph.constant "-0.0" : tensor<f32>
  %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %8 = graph.add %x, %7 : tensor<N x f32>
  %9 = graph.constant "0.0" : tensor<f32>
  %10 = graph.broadcast %9 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %11 = graph.add %x, %10 : tensor<N x f32>
  %12 = graph.constant "-inf" : tensor<f32>
  %13 = graph.broadcast %12 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %14 = graph.maximum %x, %13 : tensor<N x f32>
  %15 = graph.constant "0" : tensor<i64>
  %16 = graph.broadcast %15 {axes = array<i64>} : tensor<i64> -> tensor<N x i64>
  %17 = graph.add %i, %16 : tensor<N x i64>
  %18 = graph.constant "8.0" : tensor<f32>
  %19 = graph.broadcast %18 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %20 = graph.div %x, %19 : tensor<N x f32>
  %21 = graph.constant "3.0" : tensor<f32>
  %22 = graph.broadcast %21 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
  %23 = graph.div %x, %22 : tensor<N x f32>
  func.return %5, %8, %11, %14, %17, %20, %23 : tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x i64>, tensor<N x f32>, tensor<N x f32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<N x f32>, %i: tensor<N x i64>) -> (tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x i64>, tensor<N x f32>, tensor<N x f32>) {
    %0 = graph.constant "0.0" : tensor<f32>
    %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
    %2 = graph.add %x, %1 : tensor<N x f32>
    %3 = graph.constant "0.125" : tensor<f32>
    %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
    %5 = graph.mul %x, %4 : tensor<N x f32>
    %6 = graph.constant "3.0" : tensor<f32>
    %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<N x f32>
    %8 = graph.div %x, %7 : tensor<N x f32>
    func.return %x, %x, %2, %x, %i, %5, %8 : tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x f32>, tensor<N x i64>, tensor<N x f32>, tensor<N x f32>
  }
}
