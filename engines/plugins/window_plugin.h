// VitrineWindowAttention: qkv (B, H, W, 3C), bias (heads, M * M, M * M).
#pragma once

#include "attention_plugin.h"

namespace vitrine
{

class WindowPlugin : public AttentionPlugin
{
public:
    std::vector<Attribute> attributes() override;
    std::string refusal() const override;
    std::string refusal(std::vector<nvinfer1::Dims> const& inputs) const override;
    int launch(nvinfer1::PluginTensorDesc const* descriptions, int32_t count,
               void const* const* inputs, void* output, cudaStream_t stream) const override;

    char const* getPluginName() const noexcept override { return "VitrineWindowAttention"; }
    nvinfer1::IPluginV3* clone() noexcept override;
    /// All tensors FP16, or all FP32; with int8 scales int8 in and out, the bias FP16 or FP32.
    bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* all,
                                   int32_t in_count, int32_t out_count) noexcept override;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t in_count,
                            nvinfer1::DimsExprs const* shape_inputs, int32_t shape_count,
                            nvinfer1::DimsExprs* outputs, int32_t out_count,
                            nvinfer1::IExprBuilder& builder) noexcept override;

private:
    bool is_int8() const { return qkv_scale_ > 0.f; }

    int32_t window_ = 0;
    int32_t shift_ = 0;
    int32_t heads_ = 0;
    float scale_ = 0.f;
    float qkv_scale_ = 0.f; ///< 0, as the next, for float in and out
    float output_scale_ = 0.f;
};

} // namespace vitrine
