// PASSES: simplify
// A cast that loses nothing on the way to another goes; one that rounds stays.
func.func @main(%i: tensor<?xi32, #graph.dims<["N"]>>, %b: tensor<?xi1, #graph.dims<["N"]>>, %x: tensor<?xf64, #graph.dims<["N"]>>) -> (tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi1, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>>) {
  %0 = graph.cast %i : tensor<?xi32, #graph.dims<["N"]>> -> tensor<?xi64, #graph.dims<["N"]>>
  %1 = graph.cast %0 : tensor<?xi64, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %2 = graph.cast %b : tensor<?xi1, #graph.dims<["N"]>> -> tensor<?xi64, #graph.dims<["N"]>>
  %3 = graph.cast %b : tensor<?xi1, #graph.dims<["N"]>> -> tensor<?xi64, #graph.dims<["N"]>>
  %4 = graph.constant "0" : tensor<i64>
  %5 = graph.broadcast %4 {axes = array<i64>} : tensor<i64> -> tensor<?xi64, #graph.dims<["N"]>>
  %6 = graph.ne %2, %5 : tensor<?xi64, #graph.dims<["N"]>>, tensor<?xi64, #graph.dims<["N"]>> -> tensor<?xi1, #graph.dims<["N"]>>
  %7 = graph.cast %x : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
  %8 = graph.cast %7 : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
  func.return %1, %6, %8 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi1, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>>
}
// -----
builtin.module {
  func.func @main(%i: tensor<?xi32, #graph.dims<["N"]>>, %b: tensor<?xi1, #graph.dims<["N"]>>, %x: tensor<?xf64, #graph.dims<["N"]>>) -> (tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi1, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>>) {
    %0 = graph.cast %i : tensor<?xi32, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %1 = graph.cast %x : tensor<?xf64, #graph.dims<["N"]>> -> tensor<?xf32, #graph.dims<["N"]>>
    %2 = graph.cast %1 : tensor<?xf32, #graph.dims<["N"]>> -> tensor<?xf64, #graph.dims<["N"]>>
    func.return %0, %b, %2 : tensor<?xf32, #graph.dims<["N"]>>, tensor<?xi1, #graph.dims<["N"]>>, tensor<?xf64, #graph.dims<["N"]>>
  }
}
