// PASSES: fuse
// Softmax as fuse leaves it: along rows of 8.
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
builtin.module {
  func.func @main(%x: tensor<3x8xf32> {graph.name = "x"}) -> (tensor<3x8xf32> {graph.name = "y"}) {
    %0 = graph.group "rows" (%x_1 = %x : tensor<3x8xf32>) -> tensor<3x8xf32> {
      %1 = graph.reduce %x_1 "max" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
      %2 = graph.broadcast %1 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
      %3 = graph.sub %x_1, %2 : tensor<3x8xf32>
      %4 = graph.exp %3 : tensor<3x8xf32>
      %5 = graph.reduce %4 "sum" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
      %6 = graph.reciprocal %5 : tensor<3xf32>
      %7 = graph.broadcast %6 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
      %8 = graph.mul %4, %7 : tensor<3x8xf32>
      graph.yield %8 : tensor<3x8xf32>
    }
    func.return %0 : tensor<3x8xf32>
  }
}
