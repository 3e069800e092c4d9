#include "attention_plugin.h"

#include "attention.h"
#include "library.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdio>
#include <cstring>

namespace vitrine
{
namespace
{

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

} // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept
{
    logger_finder = finder;
}

void log_error(std::string const& plugin, std::string const& what) noexcept
{
    std::string const line = plugin + ": " + what;
    nvinfer1::ILoggerFinder* const finder = logger_finder;
    nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
    if (logger != nullptr)
        logger->log(nvinfer1::ILogger::Severity::kERROR, line.c_str());
    else
        std::fprintf(stderr, "%s\n", line.c_str());
}

std::string text(nvinfer1::Dims const& dims)
{
    std::string result = "(";
    for (int32_t i = 0; i < dims.nbDims; ++i)
        result += (i == 0 ? "" : ", ") + std::to_string(dims.d[i]);
    return result + ")";
}

bool AttentionPlugin::read(nvinfer1::PluginFieldCollection const* fields)
{
    for (Attribute const& attribute : attributes())
    {
        nvinfer1::PluginField const* found = nullptr;
        for (int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i)
            if (std::strcmp(fields->fields[i].name, attribute.name) == 0)
                found = &fields->fields[i];
        if (found == nullptr && !attribute.required)
            continue;
        bool const is_float = attribute.type == nvinfer1::PluginFieldType::kFLOAT32;
        if (found == nullptr || found->data == nullptr || found->length != 1 ||
            found->type != attribute.type)
        {
            char const* const why = found == nullptr ? " is missing" : " has another type";
            log_error(getPluginName(), std::string("attribute ") + attribute.name + why +
                                           "; expected one " + (is_float ? "float32" : "int32"));
            return false;
        }
        std::memcpy(attribute.value, found->data, is_float ? sizeof(float) : sizeof(int32_t));
    }
    std::string const reason = refusal();
    if (!reason.empty())
        log_error(getPluginName(), reason);
    return reason.empty();
}

nvinfer1::IPluginCapability* AttentionPlugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept
{
    switch (type)
    {
    case nvinfer1::PluginCapabilityType::kCORE:
        return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
        return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
        return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

int32_t AttentionPlugin::getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count,
                                            nvinfer1::DataType const* inputs,
                                            int32_t input_count) const noexcept
{
    if (output_count != 1 || input_count < 1)
        return -1;
    outputs[0] = inputs[0];
    return 0;
}

int32_t AttentionPlugin::check(std::vector<nvinfer1::Dims> const& inputs) const
{
    std::string const reason = refusal(inputs);
    if (!reason.empty())
        log_error(getPluginName(), reason);
    return reason.empty() ? 0 : -1;
}

int32_t AttentionPlugin::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in,
                                         int32_t in_count,
                                         nvinfer1::DynamicPluginTensorDesc const*,
                                         int32_t) noexcept
{
    std::vector<nvinfer1::Dims> inputs;
    for (int32_t i = 0; i < in_count; ++i)
        inputs.push_back(in[i].desc.dims);
    return check(inputs);
}

int32_t AttentionPlugin::onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t in_count,
                                       nvinfer1::PluginTensorDesc const*, int32_t) noexcept
{
    std::vector<nvinfer1::Dims> inputs;
    for (int32_t i = 0; i < in_count; ++i)
        inputs.push_back(in[i].dims);
    inputs_ = in_count;
    return check(inputs);
}

int32_t AttentionPlugin::enqueue(nvinfer1::PluginTensorDesc const* in,
                                 nvinfer1::PluginTensorDesc const*, void const* const* inputs,
                                 void* const* outputs, void*, cudaStream_t stream) noexcept
{
    if (inputs_ == 0)
    {
        log_error(getPluginName(), "enqueue before onShapeChange");
        return -1;
    }
    int const status = launch(in, inputs_, inputs, outputs[0], stream);
    if (status != cudaSuccess)
        log_error(getPluginName(),
                  std::string(cudaGetErrorString(static_cast<cudaError_t>(status))) +
                      "; the library holds code for sm " + vitrine_plugins_architectures());
    return status;
}

nvinfer1::PluginFieldCollection const* AttentionPlugin::getFieldsToSerialize() noexcept
{
    fields_.clear();
    for (Attribute const& attribute : attributes())
        fields_.emplace_back(attribute.name, attribute.value, attribute.type, 1);
    collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    return &collection_;
}

} // namespace vitrine
