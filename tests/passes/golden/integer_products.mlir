// PASSES: integer-products,fold,simplify,dce
// Bytes are multiplied in quads, and the zero point comes behind: x is padded to 8 columns, the weight is arranged once.
func.func @main(%x: tensor<3x6xui8> {graph.name = "x"}) -> (tensor<3x5xi32> {graph.name = "y"}) {
  %w = graph.weight @w : tensor<6x5xi8>
  %z = graph.constant "7" : tensor<i32>
  %a = graph.cast %x : tensor<3x6xui8> -> tensor<3x6xi32>
  %zs = graph.broadcast %z {axes = array<i64>} : tensor<i32> -> tensor<3x6xi32>
  %c = graph.sub %a, %zs : tensor<3x6xi32>
  %b = graph.cast %w : tensor<6x5xi8> -> tensor<6x5xi32>
  %y = graph.contract %c, %b "mk,kn->mn" : tensor<3x6xi32>, tensor<6x5xi32> -> tensor<3x5xi32>
  func.return %y : tensor<3x5xi32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<3x6xui8> {graph.name = "x"}) -> (tensor<3x5xi32> {graph.name = "y"}) {
    %0 = graph.constant "0" : tensor<ui8>
    %1 = graph.pad %x, %0 {low = #graph.dims<0, 0>, high = #graph.dims<0, 2>} : tensor<3x6xui8>, tensor<ui8> -> tensor<3x8xui8>
    %2 = graph.reshape %1 : tensor<3x8xui8> -> tensor<3x2x4xui8>
    %3 = graph.weight @w.folded.reshaped.transposed : tensor<2x5x4xi8>
    %4 = graph.contract %2, %3 "mka,kna->mn" : tensor<3x2x4xui8>, tensor<2x5x4xi8> -> tensor<3x5xi32>
    %5 = graph.constant "56, 14, 49, 42, 42, 56, 14, 49, 42, 42, 56, 14, 49, 42, 42" : tensor<3x5xi32>
    %y = graph.sub %4, %5 : tensor<3x5xi32>
    func.return %y : tensor<3x5xi32>
  }
}
