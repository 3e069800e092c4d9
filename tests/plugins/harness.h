// What the checks of the plugins share: a logger, attributes, tensors, symbolic dimensions.
#pragma once

#include "attention_plugin.h"
#include "library.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>

using namespace nvinfer1;

#define CHECK(condition)                                                          \
    do                                                                            \
    {                                                                             \
        if (!(condition))                                                         \
        {                                                                         \
            std::printf("line %d: %s\n", __LINE__, #condition);                   \
            std::exit(1);                                                         \
        }                                                                         \
    } while (false)

struct Log : ILogger, ILoggerFinder
{
    std::vector<std::string> lines;
    void log(Severity severity, char const* message) noexcept override
    {
        CHECK(severity == Severity::kERROR);
        lines.emplace_back(message);
    }
    ILogger* findLogger() override { return this; }
    /// Whether the one line since the last call holds `part`.
    bool said(char const* part)
    {
        bool const found = lines.size() == 1 && lines[0].find(part) != std::string::npos &&
                           lines[0].find('\n') == std::string::npos;
        for (std::string const& line : lines)
            std::printf("%s\n", line.c_str());
        lines.clear();
        return found;
    }
};

inline Log logged;

struct Fields
{
    std::deque<float> floats;
    std::deque<int32_t> integers;
    std::vector<PluginField> all;
    PluginFieldCollection collection{};

    Fields& add(char const* name, float value)
    {
        all.emplace_back(name, &floats.emplace_back(value), PluginFieldType::kFLOAT32, 1);
        return *this;
    }
    Fields& add(char const* name, int32_t value)
    {
        all.emplace_back(name, &integers.emplace_back(value), PluginFieldType::kINT32, 1);
        return *this;
    }
    PluginFieldCollection const* get()
    {
        collection = {static_cast<int32_t>(all.size()), all.data()};
        return &collection;
    }
};

inline IPluginCreatorV3One& creator(int32_t index)
{
    int32_t count = 0;
    IPluginCreatorInterface* const* const creators = getCreators(count);
    CHECK(count == 2);
    CHECK(std::strcmp(creators[index]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0);
    return *static_cast<IPluginCreatorV3One*>(creators[index]);
}

using Plugin = std::unique_ptr<IPluginV3>;

inline Plugin fused(TensorRTPhase phase = TensorRTPhase::kBUILD)
{
    return Plugin(creator(0).createPlugin("a", Fields().add("scale", 0.25f).get(), phase));
}

inline Fields window_fields(int32_t window = 4, int32_t shift = 2, int32_t heads = 2)
{
    Fields fields;
    fields.add("window", window).add("shift", shift).add("heads", heads).add("scale", 0.25f);
    return fields;
}

inline Plugin window(Fields fields = window_fields())
{
    return Plugin(creator(1).createPlugin("b", fields.get(), TensorRTPhase::kBUILD));
}

inline Plugin window_int8()
{
    return window(window_fields().add("qkv_scale", 0.5f).add("output_scale", 0.25f));
}

template <class Capability>
Capability& as(Plugin const& plugin, PluginCapabilityType type)
{
    auto* const capability = static_cast<Capability*>(plugin->getCapabilityInterface(type));
    CHECK(capability != nullptr);
    return *capability;
}

inline IPluginV3OneBuild& build(Plugin const& plugin)
{
    return as<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
}

inline IPluginV3OneRuntime& runtime(Plugin const& plugin)
{
    return as<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

inline Dims dims(std::vector<int64_t> const& sizes)
{
    Dims result{static_cast<int32_t>(sizes.size()), {}};
    std::copy(sizes.begin(), sizes.end(), result.d);
    return result;
}

inline PluginTensorDesc tensor(std::vector<int64_t> const& sizes, DataType type = DataType::kFLOAT,
                        TensorFormat format = TensorFormat::kLINEAR)
{
    return {dims(sizes), type, format, 1.f};
}

/// Expressions as text, so that a test reads what was asked for.
struct Expression : IDimensionExpr, apiv::VDimensionExpr
{
    std::string text;
    explicit Expression(std::string what) : text(std::move(what))
    {
        mImpl = this;
    }
    bool isConstant() const override { return false; }
    int64_t getConstantValue() const override { return -1; }
    bool isSizeTensor() const override { return false; }
};

struct ExpressionBuilder : IExprBuilder, apiv::VExprBuilder
{
    std::deque<Expression> all;
    ExpressionBuilder() { mImpl = this; }
    static std::string read(IDimensionExpr const* expression)
    {
        return static_cast<Expression const*>(expression)->text;
    }
    IDimensionExpr const* make(std::string text) { return &all.emplace_back(std::move(text)); }
    IDimensionExpr const* constant(int64_t value) override { return make(std::to_string(value)); }
    IDimensionExpr const* operation(DimensionOperation operation, IDimensionExpr const& first,
                                    IDimensionExpr const& second) override
    {
        CHECK(operation == DimensionOperation::kFLOOR_DIV);
        return make(read(&first) + "/" + read(&second));
    }
    IDimensionExpr const* declareSizeTensor(int32_t, IDimensionExpr const&,
                                            IDimensionExpr const&) override
    {
        return nullptr;
    }
    DimsExprs shape(std::vector<std::string> const& sizes)
    {
        DimsExprs result{};
        for (std::string const& size : sizes)
            result.d[result.nbDims++] = make(size);
        return result;
    }
};
