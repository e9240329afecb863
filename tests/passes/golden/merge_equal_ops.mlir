// PASSES: cse,dce
// Equal ops are computed once; what nobody uses goes.
func.func @main(%x: tensor<?x3xf32, #graph.dims<["N", ""]>>) -> tensor<?x3xf32, #graph.dims<["N", ""]>> {
  %a = graph.exp %x : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %b = graph.exp %x : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %c = graph.neg %b : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %d = graph.mul %a, %b : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  return %d : tensor<?x3xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x3xf32, #graph.dims<["N", ""]>>) -> tensor<?x3xf32, #graph.dims<["N", ""]>> {
    %a = graph.exp %x : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    %d = graph.mul %a, %a : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    func.return %d : tensor<?x3xf32, #graph.dims<["N", ""]>>
  }
}
