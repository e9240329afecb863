"""The bundled model of the command `mlc demo`: handwritten digits, with the test images it is checked on."""
