// What both plugins share: an IPluginV3 of one output that has no workspace and no weights.
#pragma once

#include <NvInfer.h>

#include <memory>
#include <new>
#include <string>
#include <vector>

namespace vitrine
{

constexpr char const* kNamespace = "vitrine";
constexpr char const* kPluginVersion = "1";

/// Hands one line to TensorRT's logger, or to the standard error where TensorRT gave none.
void log_error(std::string const& plugin, std::string const& what) noexcept;

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

/// One attribute of an ONNX node: a float or an int32 of the plugin.
struct Attribute
{
    char const* name;
    nvinfer1::PluginFieldType type;
    void* value;
    bool required;
};

/// Whether a dimension is `expected`, or not known yet (negative).
inline bool is(int64_t dimension, int64_t expected)
{
    return dimension < 0 || expected < 0 || dimension == expected;
}

/// "(2, 3, -1)".
std::string text(nvinfer1::Dims const& dims);

class AttentionPlugin : public nvinfer1::IPluginV3,
                        public nvinfer1::IPluginV3OneCore,
                        public nvinfer1::IPluginV3OneBuild,
                        public nvinfer1::IPluginV3OneRuntime
{
public:
    /// Sets the attributes from an ONNX node or a plan; on failure logs why.
    bool read(nvinfer1::PluginFieldCollection const* fields);

    /// The plugin's attributes, each pointing at a member.
    virtual std::vector<Attribute> attributes() = 0;

    /// Why these attributes cannot be; empty if they can.
    virtual std::string refusal() const = 0;

    /// Why inputs of these shapes cannot be; empty if they can. Negative: not known yet.
    virtual std::string refusal(std::vector<nvinfer1::Dims> const& inputs) const = 0;

    /// Enqueues the kernel; returns a cudaError_t.
    virtual int launch(nvinfer1::PluginTensorDesc const* descriptions, int32_t count,
                       void const* const* inputs, void* output, cudaStream_t stream) const = 0;

    nvinfer1::IPluginCapability* getCapabilityInterface(
        nvinfer1::PluginCapabilityType type) noexcept override;
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count,
                               nvinfer1::DataType const* inputs,
                               int32_t input_count) const noexcept override;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t in_count,
                            nvinfer1::DynamicPluginTensorDesc const* out,
                            int32_t out_count) noexcept override;

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t in_count,
                          nvinfer1::PluginTensorDesc const* out,
                          int32_t out_count) noexcept override;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* in, nvinfer1::PluginTensorDesc const* out,
                    void const* const* inputs, void* const* outputs, void* workspace,
                    cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override
    {
        return clone();
    }
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

private:
    int32_t check(std::vector<nvinfer1::Dims> const& inputs) const;

    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
    int32_t inputs_ = 0; ///< how many; enqueue is not told
};

template <class Plugin>
class Creator : public nvinfer1::IPluginCreatorV3One
{
public:
    Creator()
    {
        for (Attribute const& attribute : model_.attributes())
            fields_.emplace_back(attribute.name, nullptr, attribute.type, 1);
        collection_ = {static_cast<int32_t>(fields_.size()), fields_.data()};
    }

    nvinfer1::IPluginV3* createPlugin(char const*, nvinfer1::PluginFieldCollection const* fields,
                                      nvinfer1::TensorRTPhase) noexcept override
    {
        std::unique_ptr<Plugin> plugin(new (std::nothrow) Plugin);
        return plugin && plugin->read(fields) ? plugin.release() : nullptr;
    }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &collection_;
    }
    char const* getPluginName() const noexcept override { return model_.getPluginName(); }
    char const* getPluginVersion() const noexcept override { return kPluginVersion; }
    char const* getPluginNamespace() const noexcept override { return kNamespace; }

private:
    Plugin model_;
    std::vector<nvinfer1::PluginField> fields_;
    nvinfer1::PluginFieldCollection collection_{};
};

} // namespace vitrine
