// PASSES: split-projections
// A product that is read as a whole as well stays one.
func.func @main(%x: tensor<?x8xf32, #graph.dims<["N", ""]>>) -> (tensor<?x24xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>) {
  %0 = graph.weight @w : tensor<8x24xf32>
  %1 = graph.contract %x, %0 "ak,kn->an" : tensor<?x8xf32, #graph.dims<["N", ""]>>, tensor<8x24xf32> -> tensor<?x24xf32, #graph.dims<["N", ""]>>
  %2 = graph.slice %1 {starts = #graph.dims<["0", "0"]>, steps = array<i64: 1, 1>} : tensor<?x24xf32, #graph.dims<["N", ""]>> -> tensor<?x12xf32, #graph.dims<["N", ""]>>
  %3 = graph.slice %1 {starts = #graph.dims<["0", "12"]>, steps = array<i64: 1, 1>} : tensor<?x24xf32, #graph.dims<["N", ""]>> -> tensor<?x12xf32, #graph.dims<["N", ""]>>
  func.return %1, %2, %3 : tensor<?x24xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<?x8xf32, #graph.dims<["N", ""]>>) -> (tensor<?x24xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>) {
    %0 = graph.weight @w : tensor<8x24xf32>
    %1 = graph.contract %x, %0 "ak,kn->an" : tensor<?x8xf32, #graph.dims<["N", ""]>>, tensor<8x24xf32> -> tensor<?x24xf32, #graph.dims<["N", ""]>>
    %2 = graph.slice %1 {starts = #graph.dims<["0", "0"]>, steps = array<i64: 1, 1>} : tensor<?x24xf32, #graph.dims<["N", ""]>> -> tensor<?x12xf32, #graph.dims<["N", ""]>>
    %3 = graph.slice %1 {starts = #graph.dims<["0", "12"]>, steps = array<i64: 1, 1>} : tensor<?x24xf32, #graph.dims<["N", ""]>> -> tensor<?x12xf32, #graph.dims<["N", ""]>>
    func.return %1, %2, %3 : tensor<?x24xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>, tensor<?x12xf32, #graph.dims<["N", ""]>>
  }
}
