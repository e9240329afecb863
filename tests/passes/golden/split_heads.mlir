// PASSES: simplify
// A slice of a fused projection is cut after the reshape: a reshape needs a whole buffer, a slice does not.
func.func @main(%x: tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>>) -> (tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>) {
  %0 = graph.slice %x {starts = #graph.dims<["0", "0", "0"]>, steps = array<i64: 1, 1, 1>} : tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>
  %1 = graph.slice %x {starts = #graph.dims<["0", "0", "8"]>, steps = array<i64: 1, 1, 1>} : tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>
  %2 = graph.slice %x {starts = #graph.dims<["0", "0", "16"]>, steps = array<i64: 1, 1, 1>} : tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>>
  %3 = graph.reshape %0 : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
  %4 = graph.transpose %3 {permutation = array<i64: 0, 2, 1, 3>} : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %5 = graph.reshape %1 : tensor<?x?x8xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
  %6 = graph.transpose %5 {permutation = array<i64: 0, 2, 1, 3>} : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>
  %7 = graph.contract %4, %6 "bhsd,bhtd->bhst" : tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>>, tensor<?x2x?x4xf32, #graph.dims<["N", "", "S", ""]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
  func.return %7 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>>) -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>> {
    %0 = graph.reshape %x : tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x6x4xf32, #graph.dims<["N", "S", "", ""]>>
    %1 = graph.slice %0 {starts = #graph.dims<["0", "0", "0", "0"]>, steps = array<i64: 1, 1, 1, 1>} : tensor<?x?x6x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %2 = graph.reshape %x : tensor<?x?x24xf32, #graph.dims<["N", "S", ""]>> -> tensor<?x?x6x4xf32, #graph.dims<["N", "S", "", ""]>>
    %3 = graph.slice %2 {starts = #graph.dims<["0", "0", "2", "0"]>, steps = array<i64: 1, 1, 1, 1>} : tensor<?x?x6x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>
    %4 = graph.contract %1, %3 "bshd,bthd->bhst" : tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>>, tensor<?x?x2x4xf32, #graph.dims<["N", "S", "", ""]>> -> tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
    func.return %4 : tensor<?x2x?x?xf32, #graph.dims<["N", "", "S", "S"]>>
  }
}
