// PASSES: fuse
// Scatter as fuse leaves it: rows are added to those that indices name.
func.func @main(%x: tensor<6x4xf32> {graph.name = "x"}, %x1: tensor<3x1xi64> {graph.name = "x1"}, %x2: tensor<3x4xf32> {graph.name = "x2"}) -> (tensor<6x4xf32> {graph.name = "y"}) {
  %0 = graph.scatter %x, %x1, %x2 "add" {loops = array<i64: 0>, axes = array<i64: -1, 1>} : tensor<6x4xf32>, tensor<3x1xi64>, tensor<3x4xf32> -> tensor<6x4xf32>
  func.return %0 : tensor<6x4xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<6x4xf32> {graph.name = "x"}, %x1: tensor<3x1xi64> {graph.name = "x1"}, %x2: tensor<3x4xf32> {graph.name = "x2"}) -> (tensor<6x4xf32> {graph.name = "y"}) {
    %0 = graph.group "single" (%x_1 = %x : tensor<6x4xf32>, %x1_1 = %x1 : tensor<3x1xi64>, %x2_1 = %x2 : tensor<3x4xf32>) -> tensor<6x4xf32> {
      %1 = graph.scatter %x_1, %x1_1, %x2_1 "add" {loops = array<i64: 0>, axes = array<i64: -1, 1>} : tensor<6x4xf32>, tensor<3x1xi64>, tensor<3x4xf32> -> tensor<6x4xf32>
      graph.yield %1 : tensor<6x4xf32>
    }
    func.return %0 : tensor<6x4xf32>
  }
}
