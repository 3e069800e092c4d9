// Drives the plugins through TensorRT's interfaces on a CPU, without libnvinfer: the kernels behind
// them are the emulated ones. The argument is the name of a check.
#include "harness.h"

#include "attention.h"

#include <cmath>
#include <functional>
#include <map>

namespace
{

void names()
{
    char const* const expected[] = {"VitrineFusedAttention", "VitrineWindowAttention"};
    for (int i = 0; i < 2; ++i)
    {
        CHECK(std::strcmp(creator(i).getPluginName(), expected[i]) == 0);
        CHECK(std::strcmp(creator(i).getPluginVersion(), "1") == 0);
        CHECK(std::strcmp(creator(i).getPluginNamespace(), "vitrine") == 0);
    }
    Plugin const plugin = window();
    auto const& core = as<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE);
    CHECK(std::strcmp(core.getPluginName(), expected[1]) == 0);
    CHECK(std::strcmp(core.getPluginNamespace(), "vitrine") == 0);
    PluginFieldCollection const& fields = *creator(1).getFieldNames();
    char const* const attributes[] = {"window", "shift", "heads", "scale", "qkv_scale",
                                      "output_scale"};
    CHECK(fields.nbFields == 6);
    for (int i = 0; i < 6; ++i)
    {
        CHECK(std::strcmp(fields.fields[i].name, attributes[i]) == 0);
        CHECK(fields.fields[i].type ==
              (i < 3 ? PluginFieldType::kINT32 : PluginFieldType::kFLOAT32));
    }
    CHECK(std::strcmp(vitrine_plugins_version(), "1.0.0") == 0);
    CHECK(std::strcmp(vitrine_plugins_architectures(), "87 90") == 0);
    CHECK(std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) ==
          vitrine_plugins_tensorrt());
}

void wrong_fields()
{
    auto const refused = [](int index, Fields fields, char const* why)
    {
        Plugin const plugin(
            creator(index).createPlugin("x", fields.get(), TensorRTPhase::kBUILD));
        CHECK(plugin == nullptr);
        CHECK(logged.said(why));
    };
    CHECK(creator(0).createPlugin("x", nullptr, TensorRTPhase::kBUILD) == nullptr);
    CHECK(logged.said("attribute scale is missing"));
    refused(0, Fields(), "attribute scale is missing");
    refused(0, Fields().add("scale", int32_t{1}), "attribute scale has another type");
    Fields empty_list;
    empty_list.add("scale", 1.f);
    empty_list.all[0].length = 0;
    refused(0, empty_list, "attribute scale has another type");
    refused(0, Fields().add("scale", INFINITY), "scale is inf");
    refused(1, Fields().add("window", int32_t{4}), "attribute shift is missing");
    refused(1, window_fields(13), "window is 13; expected 1 to 12");
    refused(1, window_fields(4, 4), "shift is 4; expected 0 to 3");
    refused(1, window_fields(4, -1), "shift is -1");
    refused(1, window_fields(4, 0, 0), "heads is 0");
    refused(1, window_fields().add("qkv_scale", 1.f), "expected both positive");
    refused(1, window_fields().add("qkv_scale", -1.f).add("output_scale", 1.f),
            "expected both positive");
    CHECK(window(window_fields().add("qkv_scale", 0.f).add("output_scale", 0.f)) != nullptr);
    // What else a node has is not the plugin's business.
    Fields more;
    more.add("scale", 1.f);
    more.all.emplace_back("plugin_version", "1", PluginFieldType::kCHAR, 2);
    CHECK(Plugin(creator(0).createPlugin("x", more.get(), TensorRTPhase::kBUILD)) != nullptr);
}

void formats()
{
    auto const takes = [](Plugin const& plugin, std::vector<DataType> const& types,
                          TensorFormat format = TensorFormat::kLINEAR)
    {
        std::vector<DynamicPluginTensorDesc> all;
        for (DataType const type : types)
        {
            all.emplace_back();
            all.back().desc = tensor({-1, 1, 1, 1}, type, format);
        }
        int32_t const count = static_cast<int32_t>(all.size());
        bool taken = true; // in TensorRT's order: later tensors are not settled yet
        for (int32_t i = 0; i < count; ++i)
            taken = taken && build(plugin).supportsFormatCombination(i, all.data(), count - 1, 1);
        return taken;
    };
    auto const f = DataType::kFLOAT, h = DataType::kHALF, i = DataType::kINT8, b = DataType::kBF16;
    Plugin const plain = fused();
    CHECK(takes(plain, {f, f, f, f}) && takes(plain, {h, h, h, h, h}));
    CHECK(!takes(plain, {h, h, f, h}) && !takes(plain, {i, i, i, i}) && !takes(plain, {b, b, b, b}));
    CHECK(!takes(plain, {h, h, h, h}, TensorFormat::kCHW16));
    Plugin const in_float = window();
    CHECK(takes(in_float, {f, f, f}) && takes(in_float, {h, h, h}));
    CHECK(!takes(in_float, {h, f, h}) && !takes(in_float, {i, h, i}));
    Plugin const in_int8 = window_int8();
    CHECK(takes(in_int8, {i, h, i}) && takes(in_int8, {i, f, i}));
    CHECK(!takes(in_int8, {i, i, i}) && !takes(in_int8, {h, h, h}) && !takes(in_int8, {i, h, h}));

    DataType const inputs[] = {i, h};
    DataType output = f;
    CHECK(build(in_int8).getOutputDataTypes(&output, 1, inputs, 2) == 0 && output == i);
    CHECK(build(in_int8).getNbOutputs() == 1);
}

void output_shapes()
{
    ExpressionBuilder builder;
    auto const output = [&](Plugin const& plugin, std::vector<DimsExprs> const& inputs)
    {
        DimsExprs result{};
        std::string text;
        if (build(plugin).getOutputShapes(inputs.data(), static_cast<int32_t>(inputs.size()),
                                          nullptr, 0, &result, 1, builder) != 0)
            return std::string("refused");
        for (int32_t i = 0; i < result.nbDims; ++i)
            text += (i == 0 ? "" : " ") + ExpressionBuilder::read(result.d[i]);
        return text;
    };
    DimsExprs const query = builder.shape({"B", "H", "Nq", "D"});
    DimsExprs const key = builder.shape({"B", "H", "Nk", "D"});
    DimsExprs const value = builder.shape({"B", "H", "Nk", "Dv"});
    CHECK(output(fused(), {query, key, value}) == "B H Nq Dv");
    CHECK(output(fused(), {query, key, value, query}) == "B H Nq Dv");
    DimsExprs const map = builder.shape({"B", "h", "w", "C3"});
    DimsExprs const bias = builder.shape({"H", "T", "T"});
    CHECK(output(window(), {map, bias}) == "B h w C3/3");
    CHECK(output(window(), {bias, bias}) == "refused");
    CHECK(logged.said("VitrineWindowAttention: expected qkv of rank 4"));
}

void configure()
{
    auto const refused = [](Plugin const& plugin, std::vector<std::vector<int64_t>> const& shapes,
                            char const* why)
    {
        std::vector<DynamicPluginTensorDesc> in(shapes.size());
        std::vector<PluginTensorDesc> fixed(shapes.size());
        for (std::size_t i = 0; i < shapes.size(); ++i)
            in[i].desc = fixed[i] = tensor(shapes[i]);
        DynamicPluginTensorDesc const out{};
        int32_t const count = static_cast<int32_t>(shapes.size());
        int32_t const built = build(plugin).configurePlugin(in.data(), count, &out, 1);
        bool const said = why == nullptr ? logged.lines.empty() : logged.said(why);
        int32_t const run = runtime(plugin).onShapeChange(fixed.data(), count, &out.desc, 1);
        logged.lines.clear();
        return said && built == run && (built != 0) == (why != nullptr);
    };
    Plugin const plain = fused();
    CHECK(refused(plain, {{-1, 2, 5, 16}, {-1, 2, 7, 16}, {-1, 2, 7, 24}}, nullptr));
    CHECK(refused(plain, {{3, 2, 5, 16}, {3, 2, 7, 16}, {3, 2, 7, 24}, {1, 2, 1, 7}}, nullptr));
    CHECK(refused(plain, {{3, 2, 5, 16}, {3, 2, 7, 16}}, "found 2 inputs"));
    CHECK(refused(plain, {{3, 2, 5, 16}, {3, 7, 16}, {3, 2, 7, 16}}, "(3, 7, 16); expected rank 4"));
    CHECK(refused(plain, {{3, 2, 5, 16}, {3, 2, 7, 8}, {3, 2, 7, 16}}, "key (3, 2, 7, 8)"));
    CHECK(refused(plain, {{3, 2, 5, 16}, {3, 2, 7, 16}, {3, 2, 8, 16}}, "value (3, 2, 8, 16)"));
    CHECK(refused(plain, {{3, 2, 5, 136}, {3, 2, 7, 136}, {3, 2, 7, 16}}, "head sizes go up to 128"));
    CHECK(refused(plain, {{3, 2, 5, 16}, {3, 2, 7, 16}, {3, 2, 7, 16}, {1, 2, 1, 5}}, "found bias"));
    Plugin const tiled = window();
    CHECK(refused(tiled, {{-1, 8, 12, 96}, {2, 16, 16}}, nullptr));
    CHECK(refused(tiled, {{1, 8, 10, 96}, {2, 16, 16}}, "multiples of the window, 4"));
    CHECK(refused(tiled, {{1, 8, 8, 97}, {2, 16, 16}}, "3 * 2 heads"));
    CHECK(refused(tiled, {{1, 8, 8, 3 * 2 * 136}, {2, 16, 16}}, "up to 128"));
    CHECK(refused(tiled, {{1, 8, 8, 96}, {2, 16, 15}}, "expected (2, 16, 16)"));
    CHECK(refused(tiled, {{1, 8, 8, 96}}, "expected qkv of rank 4 and bias of rank 3"));
}

std::string serialised(Plugin const& plugin)
{
    PluginFieldCollection const& fields = *runtime(plugin).getFieldsToSerialize();
    std::string text;
    for (int32_t i = 0; i < fields.nbFields; ++i)
    {
        PluginField const& field = fields.fields[i];
        CHECK(field.length == 1);
        text += std::string(field.name) + "=" +
                (field.type == PluginFieldType::kINT32
                     ? std::to_string(*static_cast<int32_t const*>(field.data))
                     : std::to_string(*static_cast<float const*>(field.data))) +
                " ";
    }
    return text;
}

void round_trip()
{
    char const* const expected[] = {
        "scale=0.250000 ",
        "window=4 shift=2 heads=2 scale=0.250000 qkv_scale=0.500000 output_scale=0.250000 "};
    for (int i = 0; i < 2; ++i)
    {
        Plugin original = i == 0 ? fused() : window_int8();
        CHECK(serialised(original) == expected[i]);
        Plugin const read(creator(i).createPlugin(
            "read", runtime(original).getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
        CHECK(read != nullptr);
        Plugin const copied(original->clone());
        Plugin const attached(runtime(original).attachToContext(nullptr));
        original.reset(); // the others keep nothing of it
        for (Plugin const* plugin : {&read, &copied, &attached})
            CHECK(serialised(*plugin) == expected[i]);
    }
}

std::vector<float> numbers(std::size_t count)
{
    std::vector<float> result(count);
    for (std::size_t i = 0; i < count; ++i)
        result[i] = static_cast<float>(i * 7919 % 1000) / 500.f - 1.f;
    return result;
}

void run(Plugin const& plugin, std::vector<PluginTensorDesc> const& in,
         std::vector<void const*> const& inputs, void* output)
{
    int32_t const count = static_cast<int32_t>(in.size());
    PluginTensorDesc const out = in[0]; // neither plugin looks at it
    CHECK(runtime(plugin).onShapeChange(in.data(), count, &out, 1) == 0);
    CHECK(runtime(plugin).enqueue(in.data(), &out, inputs.data(), &output, nullptr, nullptr) == 0);
}

void enqueue()
{
    std::vector<float> const q = numbers(3 * 2 * 5 * 16), k = numbers(3 * 2 * 7 * 16);
    std::vector<float> const v = numbers(3 * 2 * 7 * 24), bias = numbers(2 * 7);
    std::vector<float> found(3 * 2 * 5 * 24), expected(found.size());
    run(fused(), {tensor({3, 2, 5, 16}), tensor({3, 2, 7, 16}), tensor({3, 2, 7, 24}),
                  tensor({1, 2, 1, 7})},
        {q.data(), k.data(), v.data(), bias.data()}, found.data());
    vitrine::FusedAttention const direct{q.data(), k.data(), v.data(), bias.data(), expected.data(),
                                         {0, 7, 0, 1}, 3, 2, 5, 7, 16, 24, 0.25f, vitrine::kFloat};
    CHECK(vitrine_fused_attention(&direct, nullptr) == 0 && found == expected);

    // The clone that TensorRT attaches to a context is told the shapes, and runs without bias.
    Plugin const attached(runtime(fused()).attachToContext(nullptr));
    run(attached, {tensor({3, 2, 5, 16}), tensor({3, 2, 7, 16}), tensor({3, 2, 7, 24})},
        {q.data(), k.data(), v.data()}, found.data());
    CHECK(found != expected);

    std::vector<signed char> qkv(3 * 4 * 8 * 96), in_int8(3 * 4 * 8 * 32), direct_int8(in_int8);
    for (std::size_t i = 0; i < qkv.size(); ++i)
        qkv[i] = static_cast<signed char>(i * 7919 % 256 - 128);
    std::vector<float> const positions = numbers(2 * 16 * 16);
    run(window_int8(), {tensor({3, 4, 8, 96}, DataType::kINT8), tensor({2, 16, 16})},
        {qkv.data(), positions.data()}, in_int8.data());
    vitrine::WindowAttention const tiled{qkv.data(), positions.data(), direct_int8.data(), 3, 4, 8,
                                         2, 16, 4, 2, 0.25f, 0.5f, 0.25f, vitrine::kInt8,
                                         vitrine::kFloat};
    CHECK(vitrine_window_attention(&tiled, nullptr) == 0 && in_int8 == direct_int8);
}

void errors_of_enqueue()
{
    Plugin const plugin = fused();
    PluginTensorDesc const in[] = {tensor({1, 1, 1, 16}), tensor({1, 1, 0, 16}),
                                   tensor({1, 1, 0, 16})};
    void const* const inputs[3] = {};
    void* output = nullptr;
    CHECK(runtime(plugin).enqueue(in, in, inputs, &output, nullptr, nullptr) != 0);
    CHECK(logged.said("enqueue before onShapeChange"));
    CHECK(runtime(plugin).onShapeChange(in, 3, in, 1) == 0);
    CHECK(runtime(plugin).enqueue(in, in, inputs, &output, nullptr, nullptr) ==
          cudaErrorInvalidValue);
    CHECK(logged.said("invalid argument; the library holds code for sm 87 90"));
    setLoggerFinder(nullptr); // then the line goes to the standard error
    CHECK(runtime(plugin).enqueue(in, in, inputs, &output, nullptr, nullptr) != 0);
    CHECK(logged.lines.empty());
}

} // namespace

int main(int count, char** arguments)
{
    std::map<std::string, std::function<void()>> const checks = {
        {"names", names},           {"wrong_fields", wrong_fields},
        {"formats", formats},       {"output_shapes", output_shapes},
        {"configure", configure},   {"round_trip", round_trip},
        {"enqueue", enqueue},       {"errors_of_enqueue", errors_of_enqueue},
    };
    CHECK(count == 2 && checks.count(arguments[1]) == 1);
    setLoggerFinder(&logged);
    checks.at(arguments[1])();
    return 0;
}
