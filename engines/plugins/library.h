// The symbols that the library exports: TensorRT asks for the first two, Vitrine for the others.
#pragma once

#include "attention.h"

#include <NvInfer.h>

VITRINE_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count);
VITRINE_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

/// "1.0.0".
VITRINE_API char const* vitrine_plugins_version();
/// Compute capabilities in increasing order, such as "80 87".
VITRINE_API char const* vitrine_plugins_architectures();
/// Major and minor of the headers, such as "10.3".
VITRINE_API char const* vitrine_plugins_tensorrt();
