// PASSES: simplify
// Slices merge, and cut only the piece of a concatenation that they lie in.
func.func @main(%x: tensor<9x?xf32, #graph.dims<["", "N"]>>, %z: tensor<4x?xf32, #graph.dims<["", "N"]>>) -> (tensor<3x?xf32, #graph.dims<["", "N"]>>, tensor<2x?xf32, #graph.dims<["", "N"]>>, tensor<9x?xf32, #graph.dims<["", "N"]>>) {
  %0 = graph.slice %x {starts = #graph.dims<["1", "0"]>, steps = array<i64: 1, 1>} : tensor<9x?xf32, #graph.dims<["", "N"]>> -> tensor<8x?xf32, #graph.dims<["", "N"]>>
  %1 = graph.slice %0 {starts = #graph.dims<["2", "0"]>, steps = array<i64: 2, 1>} : tensor<8x?xf32, #graph.dims<["", "N"]>> -> tensor<3x?xf32, #graph.dims<["", "N"]>>
  %2 = graph.concatenate %x, %z {axis = 0 : i64} : tensor<9x?xf32, #graph.dims<["", "N"]>>, tensor<4x?xf32, #graph.dims<["", "N"]>> -> tensor<13x?xf32, #graph.dims<["", "N"]>>
  %3 = graph.slice %2 {starts = #graph.dims<["10", "0"]>, steps = array<i64: 1, 1>} : tensor<13x?xf32, #graph.dims<["", "N"]>> -> tensor<2x?xf32, #graph.dims<["", "N"]>>
  %4 = graph.slice %x {starts = #graph.dims<["0", "0"]>, steps = array<i64: 1, 1>} : tensor<9x?xf32, #graph.dims<["", "N"]>> -> tensor<4x?xf32, #graph.dims<["", "N"]>>
  %5 = graph.slice %x {starts = #graph.dims<["4", "0"]>, steps = array<i64: 1, 1>} : tensor<9x?xf32, #graph.dims<["", "N"]>> -> tensor<5x?xf32, #graph.dims<["", "N"]>>
  %6 = graph.concatenate %4, %5 {axis = 0 : i64} : tensor<4x?xf32, #graph.dims<["", "N"]>>, tensor<5x?xf32, #graph.dims<["", "N"]>> -> tensor<9x?xf32, #graph.dims<["", "N"]>>
  func.return %1, %3, %6 : tensor<3x?xf32, #graph.dims<["", "N"]>>, tensor<2x?xf32, #graph.dims<["", "N"]>>, tensor<9x?xf32, #graph.dims<["", "N"]>>
}
// -----
builtin.module {
  func.func @main(%x: tensor<9x?xf32, #graph.dims<["", "N"]>>, %z: tensor<4x?xf32, #graph.dims<["", "N"]>>) -> (tensor<3x?xf32, #graph.dims<["", "N"]>>, tensor<2x?xf32, #graph.dims<["", "N"]>>, tensor<9x?xf32, #graph.dims<["", "N"]>>) {
    %0 = graph.slice %x {starts = #graph.dims<["3", "0"]>, steps = array<i64: 2, 1>} : tensor<9x?xf32, #graph.dims<["", "N"]>> -> tensor<3x?xf32, #graph.dims<["", "N"]>>
    %1 = graph.slice %z {starts = #graph.dims<["1", "0"]>, steps = array<i64: 1, 1>} : tensor<4x?xf32, #graph.dims<["", "N"]>> -> tensor<2x?xf32, #graph.dims<["", "N"]>>
    func.return %0, %1, %x : tensor<3x?xf32, #graph.dims<["", "N"]>>, tensor<2x?xf32, #graph.dims<["", "N"]>>, tensor<9x?xf32, #graph.dims<["", "N"]>>
  }
}
