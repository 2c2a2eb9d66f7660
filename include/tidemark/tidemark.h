// All of Tidemark's public interface. `namespace td = tidemark;` is the usual alias.
#pragma once

#include "tidemark/average.h"
#include "tidemark/clip.h"
#include "tidemark/data.h"
#include "tidemark/error.h"
#include "tidemark/map.h"
#include "tidemark/models.h"
#include "tidemark/nn.h"
#include "tidemark/op.h"
#include "tidemark/ops.h"
#include "tidemark/optim.h"
#include "tidemark/parameter.h"
#include "tidemark/schedule.h"
#include "tidemark/scheduler.h"
#include "tidemark/session.h"
#include "tidemark/tensor.h"
#include "tidemark/units.h"
