// PASSES: bucket-collectives{bytes=128}
// Two gradients, each of a cache line, fill a bucket; updates stand behind all that gradients need. The sum that a gradient waits for travels alone, where it is.
func.func @main(%x: tensor<2xf32> {graph.name = "x"}, %w: tensor<2xf32> {graph.name = "w"}) -> (tensor<2xf32> {graph.name = "a"}, tensor<2xf32> {graph.name = "b"}, tensor<2xf32> {graph.name = "c"}) {
  %m = graph.all_reduce %x : tensor<2xf32> -> tensor<2xf32>
  %g = graph.mul %x, %m : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  %sg = graph.all_reduce %g : tensor<2xf32> -> tensor<2xf32>
  %a = graph.sub %w, %sg : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  %h = graph.exp %g : tensor<2xf32> -> tensor<2xf32>
  %sh = graph.all_reduce %h : tensor<2xf32> -> tensor<2xf32>
  %b = graph.sub %w, %sh : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  %k = graph.exp %h : tensor<2xf32> -> tensor<2xf32>
  %sk = graph.all_reduce %k : tensor<2xf32> -> tensor<2xf32>
  %c = graph.sub %w, %sk : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>
  func.return %a, %b, %c : tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
}
// -----
builtin.module {
  func.func @main(%x: tensor<2xf32> {graph.name = "x"}, %w: tensor<2xf32> {graph.name = "w"}) -> (tensor<2xf32> {graph.name = "a"}, tensor<2xf32> {graph.name = "b"}, tensor<2xf32> {graph.name = "c"}) {
    %m = graph.all_reduce %x : tensor<2xf32> -> tensor<2xf32>
    %g = graph.mul %x, %m : tensor<2xf32>
    %h = graph.exp %g : tensor<2xf32>
    %sg, %sh = graph.all_reduce %g, %h : tensor<2xf32>, tensor<2xf32> -> tensor<2xf32>, tensor<2xf32>
    %k = graph.exp %h : tensor<2xf32>
    %sk = graph.all_reduce %k : tensor<2xf32> -> tensor<2xf32>
    %a = graph.sub %w, %sg : tensor<2xf32>
    %b = graph.sub %w, %sh : tensor<2xf32>
    %c = graph.sub %w, %sk : tensor<2xf32>
    func.return %a, %b, %c : tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
  }
}
