// VitrineFusedAttention: query (B, H, Nq, D), key (B, H, Nk, D), value (B, H, Nk, Dv)[, bias].
#pragma once

#include "attention_plugin.h"

namespace vitrine
{

class FusedPlugin : public AttentionPlugin
{
public:
    std::vector<Attribute> attributes() override;
    std::string refusal() const override;
    std::string refusal(std::vector<nvinfer1::Dims> const& inputs) const override;
    int launch(nvinfer1::PluginTensorDesc const* descriptions, int32_t count,
               void const* const* inputs, void* output, cudaStream_t stream) const override;

    char const* getPluginName() const noexcept override { return "VitrineFusedAttention"; }
    nvinfer1::IPluginV3* clone() noexcept override;
    /// All tensors FP16, or all FP32.
    bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* all,
                                   int32_t in_count, int32_t out_count) noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t in_count,
                            nvinfer1::DimsExprs const* shape_inputs, int32_t shape_count,
                            nvinfer1::DimsExprs* outputs, int32_t out_count,
                            nvinfer1::IExprBuilder& builder) noexcept override;

private:
    float scale_ = 0.f;
};

} // namespace vitrine
