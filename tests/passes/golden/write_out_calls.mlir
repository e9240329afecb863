// PASSES: decompose,cse,dce
// A call is written out and meets its equals; one with checkpoint stays apart, and a stop of gradients is nothing.
func.func @main(%x: tensor<?x3xf32, #graph.dims<["N", ""]>>) -> (tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>>) {
  %0 = graph.exp %x : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %1 = "graph.call"(%x) <{callee = "once"}> ({
  ^bb0(%a: tensor<?x3xf32, #graph.dims<["N", ""]>>):
    %2 = graph.exp %a : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    %3 = graph.silu %2 : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    graph.yield %3 : tensor<?x3xf32, #graph.dims<["N", ""]>>
  }) : (tensor<?x3xf32, #graph.dims<["N", ""]>>) -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %4 = "graph.call"(%x) <{callee = "again", checkpoint}> ({
  ^bb0(%b: tensor<?x3xf32, #graph.dims<["N", ""]>>):
    %5 = graph.exp %b : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    graph.yield %5 : tensor<?x3xf32, #graph.dims<["N", ""]>>
  }) : (tensor<?x3xf32, #graph.dims<["N", ""]>>) -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %6 = graph.stop_gradient %4 : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  %7 = graph.add %0, %1 : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
  func.return %7, %6 : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x3xf32, #graph.dims<["N", ""]>>) -> (tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>>) {
    %0 = graph.exp %x : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    %1 = graph.sigmoid %0 : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    %2 = graph.mul %0, %1 : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    %3 = "graph.call"(%x) <{callee = "again", checkpoint}> ({
    ^bb0(%b: tensor<?x3xf32, #graph.dims<["N", ""]>>):
      %4 = graph.exp %b : tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
      graph.yield %4 : tensor<?x3xf32, #graph.dims<["N", ""]>>
    }) : (tensor<?x3xf32, #graph.dims<["N", ""]>>) -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    %4 = graph.add %0, %2 : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>> -> tensor<?x3xf32, #graph.dims<["N", ""]>>
    func.return %4, %3 : tensor<?x3xf32, #graph.dims<["N", ""]>>, tensor<?x3xf32, #graph.dims<["N", ""]>>
  }
}
