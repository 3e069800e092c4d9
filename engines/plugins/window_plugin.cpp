#include "window_plugin.h"

#include "attention.h"

#include <cmath>

namespace vitrine
{
namespace
{

Type type_of(nvinfer1::DataType type)
{
    switch (type)
    {
    case nvinfer1::DataType::kHALF: return kHalf;
    case nvinfer1::DataType::kINT8: return kInt8;
    default: return kFloat;
    }
}

} // namespace

std::vector<Attribute> WindowPlugin::attributes()
{
    using nvinfer1::PluginFieldType;
    return {{"window", PluginFieldType::kINT32, &window_, true},
            {"shift", PluginFieldType::kINT32, &shift_, true},
            {"heads", PluginFieldType::kINT32, &heads_, true},
            {"scale", PluginFieldType::kFLOAT32, &scale_, true},
            {"qkv_scale", PluginFieldType::kFLOAT32, &qkv_scale_, false},
            {"output_scale", PluginFieldType::kFLOAT32, &output_scale_, false}};
}

std::string WindowPlugin::refusal() const
{
    if (window_ < 1 || window_ > kLargestWindow)
        return "window is " + std::to_string(window_) + "; expected 1 to " +
               std::to_string(kLargestWindow);
    if (shift_ < 0 || shift_ >= window_)
        return "shift is " + std::to_string(shift_) + "; expected 0 to " +
               std::to_string(window_ - 1);
    if (heads_ < 1)
        return "heads is " + std::to_string(heads_) + "; expected at least 1";
    if (!std::isfinite(scale_))
        return "scale is " + std::to_string(scale_);
    bool const both = qkv_scale_ > 0.f && output_scale_ > 0.f && std::isfinite(qkv_scale_) &&
                      std::isfinite(output_scale_);
    bool const neither = qkv_scale_ == 0.f && output_scale_ == 0.f;
    return both || neither ? ""
                           : "qkv_scale is " + std::to_string(qkv_scale_) + ", output_scale " +
                                 std::to_string(output_scale_) +
                                 "; expected both positive, or both 0 or absent";
}

std::string WindowPlugin::refusal(std::vector<nvinfer1::Dims> const& inputs) const
{
    if (inputs.size() != 2 || inputs[0].nbDims != 4 || inputs[1].nbDims != 3)
        return "expected qkv of rank 4 and bias of rank 3";
    auto const& qkv = inputs[0].d;
    for (int i = 1; i < 3; ++i)
        if (qkv[i] >= 0 && qkv[i] % window_ != 0)
            return "found qkv " + text(inputs[0]) +
                   "; height and width are multiples of the window, " + std::to_string(window_);
    if (qkv[3] >= 0 && (qkv[3] % (3 * heads_) != 0 || qkv[3] / (3 * heads_) > kLargestHead))
        return "found qkv " + text(inputs[0]) + "; its last dimension is 3 * " +
               std::to_string(heads_) + " heads * head size, which goes up to " +
               std::to_string(kLargestHead);
    int64_t const tokens = window_ * window_;
    auto const& bias = inputs[1].d;
    if (!is(bias[0], heads_) || !is(bias[1], tokens) || !is(bias[2], tokens))
        return "found bias " + text(inputs[1]) + "; expected " +
               text(nvinfer1::Dims{3, {heads_, tokens, tokens}});
    return "";
}

nvinfer1::IPluginV3* WindowPlugin::clone() noexcept
{
    return new (std::nothrow) WindowPlugin(*this);
}

bool WindowPlugin::supportsFormatCombination(int32_t position,
                                             nvinfer1::DynamicPluginTensorDesc const* all, int32_t,
                                             int32_t) noexcept
{
    using nvinfer1::DataType;
    nvinfer1::PluginTensorDesc const& tensor = all[position].desc;
    if (tensor.format != nvinfer1::TensorFormat::kLINEAR)
        return false;
    bool const is_bias = position == 1;
    bool const is_float = tensor.type == DataType::kHALF || tensor.type == DataType::kFLOAT;
    if (is_int8())
        return is_bias ? is_float : tensor.type == DataType::kINT8;
    return is_float && (position == 0 || tensor.type == all[0].desc.type);
}

int32_t WindowPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t in_count,
                                      nvinfer1::DimsExprs const*, int32_t,
                                      nvinfer1::DimsExprs* outputs, int32_t out_count,
                                      nvinfer1::IExprBuilder& builder) noexcept
{
    if (in_count != 2 || out_count != 1 || inputs[0].nbDims != 4)
    {
        log_error(getPluginName(), "expected qkv of rank 4, a bias, and one output");
        return -1;
    }
    outputs[0] = inputs[0];
    outputs[0].d[3] = builder.operation(nvinfer1::DimensionOperation::kFLOOR_DIV, *inputs[0].d[3],
                                        *builder.constant(3));
    return 0;
}

int WindowPlugin::launch(nvinfer1::PluginTensorDesc const* descriptions, int32_t,
                         void const* const* inputs, void* output, cudaStream_t stream) const
{
    auto const& qkv = descriptions[0].dims.d;
    WindowAttention problem{};
    problem.qkv = inputs[0];
    problem.bias = inputs[1];
    problem.output = output;
    problem.batch = static_cast<int32_t>(qkv[0]);
    problem.height = static_cast<int32_t>(qkv[1]);
    problem.width = static_cast<int32_t>(qkv[2]);
    problem.heads = heads_;
    problem.size = static_cast<int32_t>(qkv[3] / (3 * heads_));
    problem.window = window_;
    problem.shift = shift_;
    problem.scale = scale_;
    problem.qkv_scale = is_int8() ? qkv_scale_ : 1.f;
    problem.output_scale = is_int8() ? output_scale_ : 1.f;
    problem.type = type_of(descriptions[0].type);
    problem.bias_type = type_of(descriptions[1].type);
    return vitrine_window_attention(&problem, stream);
}

} // namespace vitrine
