#include "library.h"

#include "fused_plugin.h"
#include "window_plugin.h"

#define VITRINE_TEXT_OF(x) #x
#define VITRINE_TEXT(x) VITRINE_TEXT_OF(x)

nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static vitrine::Creator<vitrine::FusedPlugin> fused;
    static vitrine::Creator<vitrine::WindowPlugin> window;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&fused, &window};
    count = 2;
    return creators;
}

void setLoggerFinder(nvinfer1::ILoggerFinder* finder)
{
    vitrine::set_logger_finder(finder);
}

char const* vitrine_plugins_version()
{
    return "1.0.0";
}

char const* vitrine_plugins_architectures()
{
    return VITRINE_ARCHITECTURES;
}

char const* vitrine_plugins_tensorrt()
{
    return VITRINE_TEXT(NV_TENSORRT_MAJOR) "." VITRINE_TEXT(NV_TENSORRT_MINOR);
}
