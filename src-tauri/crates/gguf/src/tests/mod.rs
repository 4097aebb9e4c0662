//! Tests of the parser, the writer and the model contract.
