package torch

// Throw makes the shim throw a C++ exception of one kind.
var Throw = throw
