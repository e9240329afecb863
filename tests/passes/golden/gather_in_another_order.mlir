// PASSES: simplify
// A gather of rows takes over the transpose behind it; one whose elements would not stay together leaves it.
func.func @main(%x: tensor<7x4xf32>, %i: tensor<?x5x1xi64, #graph.dims<["N", "", ""]>>) -> (tensor<5x?x4xf32, #graph.dims<["", "N", ""]>>, tensor<5x4x?xf32, #graph.dims<["", "", "N"]>>) {
  %0 = graph.gather %x, %i {loops = array<i64: 0, 1>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<?x5x1xi64, #graph.dims<["N", "", ""]>> -> tensor<?x5x4xf32, #graph.dims<["N", "", ""]>>
  %1 = graph.transpose %0 {permutation = array<i64: 1, 0, 2>} : tensor<?x5x4xf32, #graph.dims<["N", "", ""]>> -> tensor<5x?x4xf32, #graph.dims<["", "N", ""]>>
  %2 = graph.gather %x, %i {loops = array<i64: 0, 1>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<?x5x1xi64, #graph.dims<["N", "", ""]>> -> tensor<?x5x4xf32, #graph.dims<["N", "", ""]>>
  %3 = graph.transpose %2 {permutation = array<i64: 1, 2, 0>} : tensor<?x5x4xf32, #graph.dims<["N", "", ""]>> -> tensor<5x4x?xf32, #graph.dims<["", "", "N"]>>
  func.return %1, %3 : tensor<5x?x4xf32, #graph.dims<["", "N", ""]>>, tensor<5x4x?xf32, #graph.dims<["", "", "N"]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<7x4xf32>, %i: tensor<?x5x1xi64, #graph.dims<["N", "", ""]>>) -> (tensor<5x?x4xf32, #graph.dims<["", "N", ""]>>, tensor<5x4x?xf32, #graph.dims<["", "", "N"]>>) {
    %0 = graph.gather %x, %i {loops = array<i64: 1, 0>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<?x5x1xi64, #graph.dims<["N", "", ""]>> -> tensor<5x?x4xf32, #graph.dims<["", "N", ""]>>
    %1 = graph.gather %x, %i {loops = array<i64: 0, 1>, axes = array<i64: -1, 2>} : tensor<7x4xf32>, tensor<?x5x1xi64, #graph.dims<["N", "", ""]>> -> tensor<?x5x4xf32, #graph.dims<["N", "", ""]>>
    %2 = graph.transpose %1 {permutation = array<i64: 1, 2, 0>} : tensor<?x5x4xf32, #graph.dims<["N", "", ""]>> -> tensor<5x4x?xf32, #graph.dims<["", "", "N"]>>
    func.return %0, %2 : tensor<5x?x4xf32, #graph.dims<["", "N", ""]>>, tensor<5x4x?xf32, #graph.dims<["", "", "N"]>>
  }
}
