// PASSES: fuse,outline,merge-loops,schedule{target=x86-64-v3},lower{target=x86-64-v3}
// Softmax as lower leaves it: along rows of 8.
func.func @main(%x: tensor<3x8xf32> {graph.name = "x"}) -> (tensor<3x8xf32> {graph.name = "y"}) {
  %0 = graph.reduce %x "max" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
  %1 = graph.broadcast %0 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
  %2 = graph.sub %x, %1 : tensor<3x8xf32>
  %3 = graph.exp %2 : tensor<3x8xf32>
  %4 = graph.reduce %3 "sum" {axes = array<i64: 1>} : tensor<3x8xf32> -> tensor<3xf32>
  %5 = graph.reciprocal %4 : tensor<3xf32>
  %6 = graph.broadcast %5 {axes = array<i64: 0>} : tensor<3xf32> -> tensor<3x8xf32>
  %7 = graph.mul %3, %6 : tensor<3x8xf32>
  func.return %7 : tensor<3x8xf32>
}
// -----
builtin.module @main {
  func.func private @rows_0_2x8_0(%x: memref<2x8xf32, strided<[8, 1], offset: ?>>, %y: memref<2x8xf32, strided<[8, 1], offset: ?>>) {
    %0 = arith.constant 0xff800000 : f32
    %1 = vector.broadcast %0 : f32 to vector<8xf32>
    %2 = arith.constant 0 : index
    %3 = arith.constant 1 : index
    %4 = arith.constant 8.900000e+01 : f32
    %5 = vector.broadcast %4 : f32 to vector<8xf32>
    %6 = arith.constant -87.3365402 : f32
    %7 = vector.broadcast %6 : f32 to vector<8xf32>
    %8 = arith.constant 0x4B400000 : f32
    %9 = vector.broadcast %8 : f32 to vector<8xf32>
    %10 = arith.constant 1.44269502 : f32
    %11 = vector.broadcast %10 : f32 to vector<8xf32>
    %12 = arith.constant 1.92596303e-08 : f32
    %13 = vector.broadcast %12 : f32 to vector<8xf32>
    %14 = arith.constant 0.000309394643 : f32
    %15 = vector.broadcast %14 : f32 to vector<8xf32>
    %16 = arith.constant 0.00268008653 : f32
    %17 = vector.broadcast %16 : f32 to vector<8xf32>
    %18 = arith.constant 0.0192360505 : f32
    %19 = vector.broadcast %18 : f32 to vector<8xf32>
    %20 = arith.constant 0.111006543 : f32
    %21 = vector.broadcast %20 : f32 to vector<8xf32>
    %22 = arith.constant 4.804530e-01 : f32
    %23 = vector.broadcast %22 : f32 to vector<8xf32>
    %24 = arith.constant 1.38629436 : f32
    %25 = vector.broadcast %24 : f32 to vector<8xf32>
    %26 = arith.constant 2.000000e+00 : f32
    %27 = vector.broadcast %26 : f32 to vector<8xf32>
    %28 = arith.constant 23 : i32
    %29 = vector.broadcast %28 : i32 to vector<8xi32>
    %30 = arith.constant 1056964608 : i32
    %31 = vector.broadcast %30 : i32 to vector<8xi32>
    %32 = arith.constant 0.000000e+00 : f32
    %33 = vector.broadcast %32 : f32 to vector<8xf32>
    %34 = arith.constant 1.000000e+00 : f32
    %35 = vector.load %x[%2, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %36 = arith.maximumf %1, %35 : vector<8xf32>
    %37 = vector.load %x[%3, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %38 = arith.maximumf %1, %37 : vector<8xf32>
    %39 = vector.reduction <maximumf>, %36 : vector<8xf32> into f32
    %40 = arith.maximumf %0, %39 : f32
    %41 = vector.reduction <maximumf>, %38 : vector<8xf32> into f32
    %42 = arith.maximumf %0, %41 : f32
    %43 = vector.load %x[%2, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %44 = vector.broadcast %40 : f32 to vector<8xf32>
    %45 = arith.subf %43, %44 : vector<8xf32>
    %46 = arith.minimumf %45, %5 : vector<8xf32>
    %47 = arith.maximumf %46, %7 : vector<8xf32>
    %48 = vector.fma %47, %11, %9 : vector<8xf32>
    %49 = arith.subf %9, %48 : vector<8xf32>
    %50 = vector.fma %47, %11, %49 : vector<8xf32>
    %51 = vector.fma %47, %13, %50 : vector<8xf32>
    %52 = vector.fma %15, %51, %17 : vector<8xf32>
    %53 = vector.fma %52, %51, %19 : vector<8xf32>
    %54 = vector.fma %53, %51, %21 : vector<8xf32>
    %55 = vector.fma %54, %51, %23 : vector<8xf32>
    %56 = vector.fma %55, %51, %25 : vector<8xf32>
    %57 = vector.fma %56, %51, %27 : vector<8xf32>
    %58 = vector.bitcast %48 : vector<8xf32> to vector<8xi32>
    %59 = arith.shli %58, %29 : vector<8xi32>
    %60 = arith.addi %59, %31 : vector<8xi32>
    %61 = vector.bitcast %60 : vector<8xi32> to vector<8xf32>
    %62 = arith.mulf %57, %61 : vector<8xf32>
    %63 = vector.load %x[%3, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %64 = vector.broadcast %42 : f32 to vector<8xf32>
    %65 = arith.subf %63, %64 : vector<8xf32>
    %66 = arith.minimumf %65, %5 : vector<8xf32>
    %67 = arith.maximumf %66, %7 : vector<8xf32>
    %68 = vector.fma %67, %11, %9 : vector<8xf32>
    %69 = arith.subf %9, %68 : vector<8xf32>
    %70 = vector.fma %67, %11, %69 : vector<8xf32>
    %71 = vector.fma %67, %13, %70 : vector<8xf32>
    %72 = vector.fma %15, %71, %17 : vector<8xf32>
    %73 = vector.fma %72, %71, %19 : vector<8xf32>
    %74 = vector.fma %73, %71, %21 : vector<8xf32>
    %75 = vector.fma %74, %71, %23 : vector<8xf32>
    %76 = vector.fma %75, %71, %25 : vector<8xf32>
    %77 = vector.fma %76, %71, %27 : vector<8xf32>
    %78 = vector.bitcast %68 : vector<8xf32> to vector<8xi32>
    %79 = arith.shli %78, %29 : vector<8xi32>
    %80 = arith.addi %79, %31 : vector<8xi32>
    %81 = vector.bitcast %80 : vector<8xi32> to vector<8xf32>
    %82 = arith.mulf %77, %81 : vector<8xf32>
    %83 = arith.addf %33, %62 : vector<8xf32>
    %84 = arith.addf %33, %82 : vector<8xf32>
    %85 = vector.reduction <add>, %83 : vector<8xf32> into f32
    %86 = arith.addf %32, %85 : f32
    %87 = vector.reduction <add>, %84 : vector<8xf32> into f32
    %88 = arith.addf %32, %87 : f32
    %89 = arith.divf %34, %86 : f32
    %90 = vector.broadcast %89 : f32 to vector<8xf32>
    %91 = arith.mulf %62, %90 : vector<8xf32>
    vector.store %91, %y[%2, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %92 = arith.divf %34, %88 : f32
    %93 = vector.broadcast %92 : f32 to vector<8xf32>
    %94 = arith.mulf %82, %93 : vector<8xf32>
    vector.store %94, %y[%3, %2] : memref<2x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    func.return
  }
  func.func private @rows_0_1x8_1(%x: memref<1x8xf32, strided<[8, 1], offset: ?>>, %y: memref<1x8xf32, strided<[8, 1], offset: ?>>) {
    %0 = arith.constant 0xff800000 : f32
    %1 = vector.broadcast %0 : f32 to vector<8xf32>
    %2 = arith.constant 0 : index
    %3 = arith.constant 8.900000e+01 : f32
    %4 = vector.broadcast %3 : f32 to vector<8xf32>
    %5 = arith.constant -87.3365402 : f32
    %6 = vector.broadcast %5 : f32 to vector<8xf32>
    %7 = arith.constant 0x4B400000 : f32
    %8 = vector.broadcast %7 : f32 to vector<8xf32>
    %9 = arith.constant 1.44269502 : f32
    %10 = vector.broadcast %9 : f32 to vector<8xf32>
    %11 = arith.constant 1.92596303e-08 : f32
    %12 = vector.broadcast %11 : f32 to vector<8xf32>
    %13 = arith.constant 0.000309394643 : f32
    %14 = vector.broadcast %13 : f32 to vector<8xf32>
    %15 = arith.constant 0.00268008653 : f32
    %16 = vector.broadcast %15 : f32 to vector<8xf32>
    %17 = arith.constant 0.0192360505 : f32
    %18 = vector.broadcast %17 : f32 to vector<8xf32>
    %19 = arith.constant 0.111006543 : f32
    %20 = vector.broadcast %19 : f32 to vector<8xf32>
    %21 = arith.constant 4.804530e-01 : f32
    %22 = vector.broadcast %21 : f32 to vector<8xf32>
    %23 = arith.constant 1.38629436 : f32
    %24 = vector.broadcast %23 : f32 to vector<8xf32>
    %25 = arith.constant 2.000000e+00 : f32
    %26 = vector.broadcast %25 : f32 to vector<8xf32>
    %27 = arith.constant 23 : i32
    %28 = vector.broadcast %27 : i32 to vector<8xi32>
    %29 = arith.constant 1056964608 : i32
    %30 = vector.broadcast %29 : i32 to vector<8xi32>
    %31 = arith.constant 0.000000e+00 : f32
    %32 = vector.broadcast %31 : f32 to vector<8xf32>
    %33 = arith.constant 1.000000e+00 : f32
    %34 = vector.load %x[%2, %2] : memref<1x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %35 = arith.maximumf %1, %34 : vector<8xf32>
    %36 = vector.reduction <maximumf>, %35 : vector<8xf32> into f32
    %37 = arith.maximumf %0, %36 : f32
    %38 = vector.load %x[%2, %2] : memref<1x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    %39 = vector.broadcast %37 : f32 to vector<8xf32>
    %40 = arith.subf %38, %39 : vector<8xf32>
    %41 = arith.minimumf %40, %4 : vector<8xf32>
    %42 = arith.maximumf %41, %6 : vector<8xf32>
    %43 = vector.fma %42, %10, %8 : vector<8xf32>
    %44 = arith.subf %8, %43 : vector<8xf32>
    %45 = vector.fma %42, %10, %44 : vector<8xf32>
    %46 = vector.fma %42, %12, %45 : vector<8xf32>
    %47 = vector.fma %14, %46, %16 : vector<8xf32>
    %48 = vector.fma %47, %46, %18 : vector<8xf32>
    %49 = vector.fma %48, %46, %20 : vector<8xf32>
    %50 = vector.fma %49, %46, %22 : vector<8xf32>
    %51 = vector.fma %50, %46, %24 : vector<8xf32>
    %52 = vector.fma %51, %46, %26 : vector<8xf32>
    %53 = vector.bitcast %43 : vector<8xf32> to vector<8xi32>
    %54 = arith.shli %53, %28 : vector<8xi32>
    %55 = arith.addi %54, %30 : vector<8xi32>
    %56 = vector.bitcast %55 : vector<8xi32> to vector<8xf32>
    %57 = arith.mulf %52, %56 : vector<8xf32>
    %58 = arith.addf %32, %57 : vector<8xf32>
    %59 = vector.reduction <add>, %58 : vector<8xf32> into f32
    %60 = arith.addf %31, %59 : f32
    %61 = arith.divf %33, %60 : f32
    %62 = vector.broadcast %61 : f32 to vector<8xf32>
    %63 = arith.mulf %57, %62 : vector<8xf32>
    vector.store %63, %y[%2, %2] : memref<1x8xf32, strided<[8, 1], offset: ?>>, vector<8xf32>
    func.return
  }
  func.func @rows_0(%x: memref<3x8xf32> {kernel.name = "x", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %y: memref<3x8xf32> {kernel.name = "y", kernel.shape = ["3", "8"], kernel.dtype = "f32"}, %begin: index {kernel.role = "begin"}, %end: index {kernel.role = "end"}) attributes {kernel.schedule = "Level(d0 = 2 parallel) | Vector(c1 x 8, unroll d0*c1)", kernel.tiles = "2", kernel.applied = 2 : i64} {
    %0 = arith.constant 1 : index
    %1 = arith.constant 2 : index
    scf.for %d0 = %begin to %end step %0 {
      %2 = arith.cmpi slt, %d0, %0 : index
      scf.if %2 {
        %3 = arith.muli %d0, %1 : index
        %x_1 = memref.subview %x[%3, 0] [2, 8] [1, 1] : memref<3x8xf32> to memref<2x8xf32, strided<[8, 1], offset: ?>>
        %y_1 = memref.subview %y[%3, 0] [2, 8] [1, 1] : memref<3x8xf32> to memref<2x8xf32, strided<[8, 1], offset: ?>>
        func.call @rows_0_2x8_0(%x_1, %y_1) : (memref<2x8xf32, strided<[8, 1], offset: ?>>, memref<2x8xf32, strided<[8, 1], offset: ?>>) -> ()
      } else {
        %x_2 = memref.subview %x[2, 0] [1, 8] [1, 1] : memref<3x8xf32> to memref<1x8xf32, strided<[8, 1], offset: 16>>
        %y_2 = memref.subview %y[2, 0] [1, 8] [1, 1] : memref<3x8xf32> to memref<1x8xf32, strided<[8, 1], offset: 16>>
        %4 = "memref.cast"(%x_2) : (memref<1x8xf32, strided<[8, 1], offset: 16>>) -> memref<1x8xf32, strided<[8, 1], offset: ?>>
        %5 = "memref.cast"(%y_2) : (memref<1x8xf32, strided<[8, 1], offset: 16>>) -> memref<1x8xf32, strided<[8, 1], offset: ?>>
        func.call @rows_0_1x8_1(%4, %5) : (memref<1x8xf32, strided<[8, 1], offset: ?>>, memref<1x8xf32, strided<[8, 1], offset: ?>>) -> ()
      }
    }
    func.return
  }
  func.func @main(%x: memref<3x8xf32> {kernel.name = "x", kernel.role = "input", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 8>}, %y: memref<3x8xf32> {kernel.name = "y", kernel.role = "output", kernel.dtype = "f32", kernel.dims = #graph.dims<3, 8>}) {
    kernel.call @rows_0(%x, %y) : memref<3x8xf32>, memref<3x8xf32>
    func.return
  }
}
