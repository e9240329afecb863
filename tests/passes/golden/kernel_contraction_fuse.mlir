// PASSES: fuse
// Contraction as fuse leaves it: a product and what follows it.
func.func @main(%x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<2x8xf32> {graph.name = "y"}) {
  %0 = graph.weight @w : tensor<4x8xf32>
  %1 = graph.contract %x, %0 "mk,kn->mn" : tensor<2x4xf32>, tensor<4x8xf32> -> tensor<2x8xf32>
  %2 = graph.relu %1 : tensor<2x8xf32>
  func.return %2 : tensor<2x8xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<2x4xf32> {graph.name = "x"}) -> (tensor<2x8xf32> {graph.name = "y"}) {
    %0 = graph.weight @w : tensor<4x8xf32>
    %1 = graph.group "contraction" (%x_1 = %x : tensor<2x4xf32>, %2 = %0 : tensor<4x8xf32>) -> tensor<2x8xf32> {
      %3 = graph.contract %x_1, %2 "mk,kn->mn" : tensor<2x4xf32>, tensor<4x8xf32> -> tensor<2x8xf32>
      %4 = graph.relu %3 : tensor<2x8xf32>
      graph.yield %4 : tensor<2x8xf32>
    }
    func.return %1 : tensor<2x8xf32>
  }
}
