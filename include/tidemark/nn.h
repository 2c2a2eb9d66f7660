// Layers, and how they make a model.
//
// A layer is a value that holds handles to its parameters; copies share them. A module says what it is made of once, in
// visit(), and everything else follows from that:
//
//   struct Residual : td::nn::Module {
//     td::nn::Linear up, down;
//     explicit Residual(int width) : up({.in = width, .out = 4 * width}), down({.in = 4 * width, .out = width}) {}
//     void visit(td::nn::Visitor& v) override { v.child("up", up), v.child("down", down); }
//     td::Tensor operator()(const td::Tensor& x) const { return x + down(td::gelu(up(x))); }
//   };
//
// Deriving from Module adds parameters(), train() and the like as members; a plain struct with the same visit() works
// as a child, in Sequential and with the free functions of the same names. Parameters are initialised as PyTorch does,
// and nn::init does it in other ways. print(net) shows what a model has.
#pragma once

#include "tidemark/nn/activations.h"
#include "tidemark/nn/any_module.h"
#include "tidemark/nn/attention.h"
#include "tidemark/nn/embedding.h"
#include "tidemark/nn/images.h"
#include "tidemark/nn/init.h"
#include "tidemark/nn/linear.h"
#include "tidemark/nn/losses.h"
#include "tidemark/nn/module.h"
#include "tidemark/nn/norms.h"
#include "tidemark/nn/recurrent.h"
#include "tidemark/nn/sequential.h"
#include "tidemark/nn/weight_norm.h"
