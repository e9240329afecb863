// PASSES: fuse
// Transpose as fuse leaves it: of 8 x 4.
func.func @main(%x: tensor<8x4xf32> {graph.name = "x"}) -> (tensor<4x8xf32> {graph.name = "y"}) {
  %0 = graph.transpose %x {permutation = array<i64: 1, 0>} : tensor<8x4xf32> -> tensor<4x8xf32>
  func.return %0 : tensor<4x8xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<8x4xf32> {graph.name = "x"}) -> (tensor<4x8xf32> {graph.name = "y"}) {
    %0 = graph.group "elementwise" (%x_1 = %x : tensor<8x4xf32>) -> tensor<4x8xf32> {
      %1 = graph.transpose %x_1 {permutation = array<i64: 1, 0>} : tensor<8x4xf32> -> tensor<4x8xf32>
      graph.yield %1 : tensor<4x8xf32>
    }
    func.return %0 : tensor<4x8xf32>
  }
}
