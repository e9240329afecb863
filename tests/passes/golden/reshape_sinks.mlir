// PASSES: simplify
// A reshape sinks through what computes, so that bias and relu can join the product.
func.func @main(%x: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>) -> (tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>) {
  %0 = graph.weight @w : tensor<8x6xf32>
  %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, tensor<8x6xf32> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
  %2 = graph.reshape %1 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
  %3 = graph.weight @b : tensor<6xf32>
  %4 = graph.reshape %3 : tensor<6xf32> -> tensor<2x3xf32>
  %5 = graph.broadcast %4 {axes = array<i64: 2, 3>} : tensor<2x3xf32> -> tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
  %6 = graph.add %2, %5 : tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
  %7 = graph.relu %6 : tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
  func.return %7 : tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>) -> tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>> {
    %0 = graph.weight @w : tensor<8x6xf32>
    %1 = graph.contract %x, %0 "abk,kn->abn" : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, tensor<8x6xf32> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    %2 = graph.weight @b : tensor<6xf32>
    %3 = graph.broadcast %2 {axes = array<i64: 2>} : tensor<6xf32> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    %4 = graph.add %1, %3 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>, tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    %5 = graph.relu %4 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>>
    %6 = graph.reshape %5 : tensor<?x?x6xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
    func.return %6 : tensor<?x?x2x3xf32, #graph.dims<["N", "S", "", ""]>>
  }
}
