#include "fused_plugin.h"

#include "attention.h"

#include <cmath>

namespace vitrine
{

std::vector<Attribute> FusedPlugin::attributes()
{
    return {{"scale", nvinfer1::PluginFieldType::kFLOAT32, &scale_, true}};
}

std::string FusedPlugin::refusal() const
{
    return std::isfinite(scale_) ? "" : "scale is " + std::to_string(scale_);
}

std::string FusedPlugin::refusal(std::vector<nvinfer1::Dims> const& inputs) const
{
    if (inputs.size() != 3 && inputs.size() != 4)
        return "found " + std::to_string(inputs.size()) +
               " inputs; expected query, key, value and optionally bias";
    for (nvinfer1::Dims const& dims : inputs)
        if (dims.nbDims != 4)
            return "found an input of shape " + text(dims) + "; expected rank 4";
    auto const& query = inputs[0].d;
    auto const& key = inputs[1].d;
    auto const& value = inputs[2].d;
    bool fits = is(key[3], query[3]) && is(value[2], key[2]);
    for (int i = 0; i < 2; ++i)
        fits = fits && is(key[i], query[i]) && is(value[i], query[i]);
    if (!fits)
        return "found query " + text(inputs[0]) + ", key " + text(inputs[1]) + ", value " +
               text(inputs[2]) + "; expected (B, H, Nq, D), (B, H, Nk, D), (B, H, Nk, Dv)";
    if (query[3] > kLargestHead || value[3] > kLargestHead)
        return "found query " + text(inputs[0]) + " and value " + text(inputs[2]) +
               "; head sizes go up to " + std::to_string(kLargestHead);
    int64_t const full[4] = {query[0], query[1], query[2], key[2]};
    for (int i = 0; inputs.size() == 4 && i < 4; ++i)
        if (inputs[3].d[i] != 1 && !is(inputs[3].d[i], full[i]))
            return "found bias " + text(inputs[3]) + " for query " + text(inputs[0]) +
                   " and key " + text(inputs[1]) + "; each dimension is 1 or as in (B, H, Nq, Nk)";
    return "";
}

nvinfer1::IPluginV3* FusedPlugin::clone() noexcept
{
    return new (std::nothrow) FusedPlugin(*this);
}

bool FusedPlugin::supportsFormatCombination(int32_t position,
                                            nvinfer1::DynamicPluginTensorDesc const* all, int32_t,
                                            int32_t) noexcept
{
    nvinfer1::PluginTensorDesc const& tensor = all[position].desc;
    if (tensor.format != nvinfer1::TensorFormat::kLINEAR)
        return false;
    if (position > 0)
        return tensor.type == all[0].desc.type;
    return tensor.type == nvinfer1::DataType::kHALF || tensor.type == nvinfer1::DataType::kFLOAT;
}

int32_t FusedPlugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t in_count,
                                     nvinfer1::DimsExprs const*, int32_t,
                                     nvinfer1::DimsExprs* outputs, int32_t out_count,
                                     nvinfer1::IExprBuilder&) noexcept
{
    if (in_count < 3 || out_count != 1 || inputs[0].nbDims != 4 || inputs[2].nbDims != 4)
    {
        log_error(getPluginName(), "expected query, key and value of rank 4, and one output");
        return -1;
    }
    outputs[0] = inputs[0];
    outputs[0].d[3] = inputs[2].d[3];
    return 0;
}

int FusedPlugin::launch(nvinfer1::PluginTensorDesc const* descriptions, int32_t count,
                        void const* const* inputs, void* output, cudaStream_t stream) const
{
    auto const& query = descriptions[0].dims.d;
    FusedAttention problem{};
    problem.query = inputs[0];
    problem.key = inputs[1];
    problem.value = inputs[2];
    problem.output = output;
    problem.batch = static_cast<int32_t>(query[0]);
    problem.heads = static_cast<int32_t>(query[1]);
    problem.queries = static_cast<int32_t>(query[2]);
    problem.keys = static_cast<int32_t>(descriptions[1].dims.d[2]);
    problem.size = static_cast<int32_t>(query[3]);
    problem.value_size = static_cast<int32_t>(descriptions[2].dims.d[3]);
    problem.scale = scale_;
    problem.type = descriptions[0].type == nvinfer1::DataType::kHALF ? kHalf : kFloat;
    if (count == 4)
    {
        problem.bias = inputs[3];
        int64_t stride = 1;
        for (int i = 3; i >= 0; --i)
        {
            int64_t const size = descriptions[3].dims.d[i];
            problem.bias_stride[i] = size == 1 ? 0 : stride;
            stride *= size;
        }
    }
    return vitrine_fused_attention(&problem, stream);
}

} // namespace vitrine
