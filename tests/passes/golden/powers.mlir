// PASSES: simplify
// Constant powers are products and roots.
func.func @main(%x: tensor<7xf32>) -> (tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>) {
  %0 = graph.constant "2.0" : tensor<f32>
  %1 = graph.broadcast %0 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
  %2 = graph.pow %x, %1 : tensor<7xf32>
  %3 = graph.constant "3.0" : tensor<f32>
  %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
  %5 = graph.pow %x, %4 : tensor<7xf32>
  %6 = graph.constant "0.5" : tensor<f32>
  %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
  %8 = graph.pow %x, %7 : tensor<7xf32>
  %9 = graph.constant "-1.0" : tensor<f32>
  %10 = graph.broadcast %9 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
  %11 = graph.pow %x, %10 : tensor<7xf32>
  %12 = graph.constant "1.5" : tensor<f32>
  %13 = graph.broadcast %12 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
  %14 = graph.pow %x, %13 : tensor<7xf32>
  func.return %2, %5, %8, %11, %14 : tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<7xf32>) -> (tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>) {
    %0 = graph.mul %x, %x : tensor<7xf32>
    %1 = graph.mul %x, %x : tensor<7xf32>
    %2 = graph.mul %1, %x : tensor<7xf32>
    %3 = graph.constant "-inf" : tensor<f32>
    %4 = graph.broadcast %3 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
    %5 = graph.eq %x, %4 : tensor<7xf32>, tensor<7xf32> -> tensor<7xi1>
    %6 = graph.constant "inf" : tensor<f32>
    %7 = graph.broadcast %6 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
    %8 = graph.constant "0.0" : tensor<f32>
    %9 = graph.broadcast %8 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
    %10 = graph.add %x, %9 : tensor<7xf32>
    %11 = graph.select %5, %7, %10 : tensor<7xi1>, tensor<7xf32>, tensor<7xf32> -> tensor<7xf32>
    %12 = graph.sqrt %11 : tensor<7xf32>
    %13 = graph.reciprocal %x : tensor<7xf32>
    %14 = graph.constant "1.5" : tensor<f32>
    %15 = graph.broadcast %14 {axes = array<i64>} : tensor<f32> -> tensor<7xf32>
    %16 = graph.pow %x, %15 : tensor<7xf32>
    func.return %0, %2, %12, %13, %16 : tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>
  }
}
