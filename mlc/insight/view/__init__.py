"""One HTML file that shows what the compiler did: the graph after every pass, kernels down to assembly, memory and time. It loads nothing.

    recorder = Recorder("view.html")        # the page is written as it goes: what a crash leaves can be looked at
    Compilation(options, inspection=Inspection(report=recorder)).compile("model.onnx")

records.py    @main after each pass, as records
kernels.py    a kernel's texts, with the lines that belong together
user_lines.py lines of the user's Python, as a page shows them
page.py       the file: scripts and style, then parts of data, one behind the other
recorder.py   what the compiler calls on its way, and what is added of memory, times, errors
*.js, *.css   the page itself
"""
