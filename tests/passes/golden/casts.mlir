// PASSES: simplify
// A cast that loses nothing on the way to another goes; one that rounds stays.
func.func @main(%i: tensor<N x i32>, %b: tensor<N x i1>, %x: tensor<N x f64>) -> (tensor<N x f32>, tensor<N x i1>, tensor<N x f64>) {
  %0 = graph.cast %i : tensor<N x i32> -> tensor<N x i64>
  %1 = graph.cast %0 : tensor<N x i64> -> tensor<N x f32>
  %2 = graph.cast %b : tensor<N x i1> -> tensor<N x i64>
  %3 = graph.cast %b : tensor<N x i1> -> tensor<N x i64>
  %4 = graph.constant "0" : tensor<i64>
  %5 = graph.broadcast %4 {axes = array<i64>} : tensor<i64> -> tensor<N x i64>
  %6 = graph.ne %2, %5 : tensor<N x i64>, tensor<N x i64> -> tensor<N x i1>
  %7 = graph.cast %x : tensor<N x f64> -> tensor<N x f32>
  %8 = graph.cast %7 : tensor<N x f32> -> tensor<N x f64>
  func.return %1, %6, %8 : tensor<N x f32>, tensor<N x i1>, tensor<N x f64>
}
// -----
builtin.module {
  func.func @main(%i: tensor<N x i32>, %b: tensor<N x i1>, %x: tensor<N x f64>) -> (tensor<N x f32>, tensor<N x i1>, tensor<N x f64>) {
    %0 = graph.cast %i : tensor<N x i32> -> tensor<N x f32>
    %1 = graph.cast %x : tensor<N x f64> -> tensor<N x f32>
    %2 = graph.cast %1 : tensor<N x f32> -> tensor<N x f64>
    func.return %0, %b, %2 : tensor<N x f32>, tensor<N x i1>, tensor<N x f64>
  }
}
