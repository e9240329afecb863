// PASSES: move-transposes
// An output has its axes as they are.
func.func @main(%x: tensor<?x3x4xf32, #graph.dims<["N", "", ""]>>) -> (tensor<4x?x3xf32, #graph.dims<["", "N", ""]>>) {
  %0 = graph.transpose %x {permutation = array<i64: 2, 0, 1>} : tensor<?x3x4xf32, #graph.dims<["N", "", ""]>> -> tensor<4x?x3xf32, #graph.dims<["", "N", ""]>>
  %1 = graph.exp %0 : tensor<4x?x3xf32, #graph.dims<["", "N", ""]>> -> tensor<4x?x3xf32, #graph.dims<["", "N", ""]>>
  func.return %1 : tensor<4x?x3xf32, #graph.dims<["", "N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x3x4xf32, #graph.dims<["N", "", ""]>>) -> tensor<4x?x3xf32, #graph.dims<["", "N", ""]>> {
    %0 = graph.exp %x : tensor<?x3x4xf32, #graph.dims<["N", "", ""]>> -> tensor<?x3x4xf32, #graph.dims<["N", "", ""]>>
    %1 = graph.transpose %0 {permutation = array<i64: 2, 0, 1>} : tensor<?x3x4xf32, #graph.dims<["N", "", ""]>> -> tensor<4x?x3xf32, #graph.dims<["", "N", ""]>>
    func.return %1 : tensor<4x?x3xf32, #graph.dims<["", "N", ""]>>
  }
}
