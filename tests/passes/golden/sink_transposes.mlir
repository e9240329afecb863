// PASSES: simplify,move-transposes,simplify
// Attention heads with a rotation in between: no transpose is left.
func.func @main(%x: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, %c: tensor<?x4xf32, #graph.dims<["S", ""]>>) -> (tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>) {
  %0 = graph.reshape %x : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
  %1 = graph.transpose %0 {permutation = array<i64: 0, 2, 1, 3>} : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %2 = graph.slice %1 {starts = #graph.dims<["0", "0", "0", "2"]>, steps = array<i64: 1, 1, 1, 1>} : tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x2xf32, #graph.dims<["N", "", "S", ""]>>
  %3 = graph.neg %2 : tensor<?x2x?x2xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x2xf32, #graph.dims<["N", "", "S", ""]>>
  %4 = graph.slice %1 {starts = #graph.dims<["0", "0", "0", "0"]>, steps = array<i64: 1, 1, 1, 1>} : tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x2xf32, #graph.dims<["N", "", "S", ""]>>
  %5 = graph.concatenate %3, %4 {axis = 3 : i64} : tensor<?x2x?x2xf32, #graph.dims<["N", "", "S", ""]>>, tensor<?x2x?x2xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %6 = graph.broadcast %c {axes = array<i64: 2, 3>} : tensor<?x4xf32, #graph.dims<["S", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %7 = graph.mul %1, %6 : tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>, tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %8 = graph.add %7, %5 : tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>, tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %9 = graph.contract %8, %8 "bhsd,bhtd->bhst" : tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>, tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
  func.return %9 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>, %c: tensor<?x4xf32, #graph.dims<["S", ""]>>) -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>> {
    %0 = graph.reshape %x : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %1 = graph.slice %0 {starts = #graph.dims<["0", "0", "0", "2"]>, steps = array<i64: 1, 1, 1, 1>} : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x2xf32, #graph.dims<["N", "S", "", ""]>>
    %2 = graph.neg %1 : tensor<?x?x2x2xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x2xf32, #graph.dims<["N", "S", "", ""]>>
    %3 = graph.slice %0 {starts = #graph.dims<["0", "0", "0", "0"]>, steps = array<i64: 1, 1, 1, 1>} : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x2xf32, #graph.dims<["N", "S", "", ""]>>
    %4 = graph.concatenate %2, %3 {axis = 3 : i64} : tensor<?x?x2x2xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x2xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %5 = graph.broadcast %c {axes = array<i64: 1, 3>} : tensor<?x4xf32, #graph.dims<["S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %6 = graph.mul %0, %5 : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %7 = graph.add %6, %4 : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %8 = graph.contract %7, %7 "bshd,bthd->bhst" : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
    func.return %8 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
  }
}
