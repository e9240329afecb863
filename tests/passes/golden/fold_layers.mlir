// PASSES: fold
// A weight computed from weights is made once, on first use; a shared input stays for its other reader.
func.func @main(%x: tensor<?x40xf32, #graph.dims<["N", ""]>>) -> (tensor<?x40xf32, #graph.dims<["N", ""]>>) {
  %0 = graph.weight @a : tensor<40xf32>
  %1 = graph.mul %0, %0 : tensor<40xf32>, tensor<40xf32> -> tensor<40xf32>
  %2 = graph.broadcast %1 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
  %3 = graph.mul %x, %2 : tensor<?x40xf32, #graph.dims<["N", ""]>>, tensor<?x40xf32, #graph.dims<["N", ""]>> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
  %4 = graph.broadcast %0 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
  %5 = graph.add %3, %4 : tensor<?x40xf32, #graph.dims<["N", ""]>>, tensor<?x40xf32, #graph.dims<["N", ""]>> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
  func.return %5 : tensor<?x40xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x40xf32, #graph.dims<["N", ""]>>) -> tensor<?x40xf32, #graph.dims<["N", ""]>> {
    %0 = graph.weight @a : tensor<40xf32>
    %1 = graph.weight @a.folded : tensor<40xf32>
    %2 = graph.broadcast %1 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
    %3 = graph.mul %x, %2 : tensor<?x40xf32, #graph.dims<["N", ""]>>, tensor<?x40xf32, #graph.dims<["N", ""]>> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
    %4 = graph.broadcast %0 {axes = array<i64: 1>} : tensor<40xf32> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
    %5 = graph.add %3, %4 : tensor<?x40xf32, #graph.dims<["N", ""]>>, tensor<?x40xf32, #graph.dims<["N", ""]>> -> tensor<?x40xf32, #graph.dims<["N", ""]>>
    func.return %5 : tensor<?x40xf32, #graph.dims<["N", ""]>>
  }
}
