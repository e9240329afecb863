// PASSES: simplify
// Rows flattened for a product are not flattened at all.
func.func @main(%x: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>) -> (tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>) {
  %0 = graph.reshape %x : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x8xf32, #graph.dims<["N*S", ""]>>
  %1 = graph.weight @w : tensor<8x6xf32>
  %2 = graph.contract %0, %1 "mk,kn->mn" : tensor<?x8xf32, #graph.dims<["N*S", ""]>>, tensor<8x6xf32> -> tensor<?x6xf32, #graph.dims<["N*S", ""]>>
  %3 = graph.weight @b : tensor<6xf32>
  %4 = graph.broadcast %3 {axes = array<i64: 1>} : tensor<6xf32> -> tensor<?x6xf32, #graph.dims<["N*S", ""]>>
  %5 = graph.add %2, %4 : tensor<?x6xf32, #graph.dims<["N*S", ""]>>, tensor<?x6xf32, #graph.dims<["N*S", ""]>> -> tensor<?x6xf32, #graph.dims<["N*S", ""]>>
  %6 = graph.reshape %5 : tensor<?x6xf32, #graph.dims<["N*S", ""]>> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
  func.return %6 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>) -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>> {
    %0 = graph.weight @w : tensor<8x6xf32>
    %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, tensor<8x6xf32> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    %2 = graph.weight @b : tensor<6xf32>
    %3 = graph.broadcast %2 {axes = array<i64: 2>} : tensor<6xf32> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    %4 = graph.add %1, %3 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>, tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    func.return %4 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
  }
}
