/* serve.c - from the options of `lathe serve` to its configuration. */
#include "cli/serve.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/commands.h"

static enum lathe_status bad_address(const char *address, struct lathe_error *err)
{
    return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "listen",
                            "listen: \"%s\" is not host:port, [v6]:port or unix:path with a port "
                            "of 0 to 65535",
                            address);
}

static bool port_valid(const char *text)
{
    size_t digits = strspn(text, "0123456789");

    return digits >= 1 && digits <= 5 && text[digits] == '\0' && atoi(text) <= 65535;
}

static bool host_loopback(const char *host, bool v6)
{
    struct in6_addr a6;
    struct in_addr a4;

    if (v6)
        return inet_pton(AF_INET6, host, &a6) == 1 && IN6_IS_ADDR_LOOPBACK(&a6);
    return strcmp(host, "localhost") == 0 ||
           (inet_pton(AF_INET, host, &a4) == 1 && ntohl(a4.s_addr) >> 24 == 127);
}

enum lathe_status lathe_listen_check(const char *address, bool *loopback_out,
                                     struct lathe_error *err)
{
    const char *begin = address[0] == '[' ? address + 1 : address;
    const char *end = address[0] == '[' ? strchr(address, ']') : strrchr(address, ':');
    const char *port;
    char host[256];

    *loopback_out = false;
    if (strncmp(address, "unix:", 5) == 0) {
        *loopback_out = address[5] != '\0';
        return address[5] != '\0' ? LATHE_OK : bad_address(address, err);
    }
    if (end == NULL || end == begin || (size_t)(end - begin) >= sizeof(host))
        return bad_address(address, err);
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    if (begin != address && end[1] != ':')
        return bad_address(address, err);
    port = begin != address ? end + 2 : end + 1;
    /* A bare IPv6 address has colons of its own, and its last part is no port. */
    if (!port_valid(port) || (begin == address && strchr(host, ':') != NULL))
        return bad_address(address, err);
    *loopback_out = host_loopback(host, begin != address);
    return LATHE_OK;
}

static void log_option(void *context, const char *name, const char *value, const char *where)
{
    (void)context;
    lathe_log(LATHE_LOG_INFO, "option", "name=%s value=\"%s\" source=\"%s\"", name, value, where);
}

int lathe_command_serve(struct lathe_cli *cli)
{
    const struct lathe_options *options = cli->options;
    struct lathe_serve_config config = {
        .data = lathe_options_text(options, "data"),
        .shards = (uint32_t)lathe_options_number(options, "shards"),
        .listen = lathe_options_text(options, "listen"),
        .insecure = lathe_options_bool(options, "insecure"),
        .memory_limit_bytes = lathe_options_number(options, "memory-limit"),
        .scan_threads = (uint32_t)lathe_options_number(options, "scan-threads"),
        .kernel = lathe_options_text(options, "kernel"),
        .max_payload_bytes = lathe_options_number(options, "max-payload"),
        .log_level = (enum lathe_log_level)lathe_options_choice(options, "log-level"),
        .port_file = lathe_options_text(options, "port-file"),
    };
    struct lathe_error err = {0};

    if (lathe_listen_check(config.listen, &config.loopback, &err) != LATHE_OK)
        return lathe_cli_usage(cli, "%s", err.message);
    if (!config.loopback && !config.insecure)
        return lathe_cli_usage(cli,
                               "listen: %s can be reached from other machines, and this version "
                               "has no encryption; add --insecure to listen there all the same",
                               config.listen);
    lathe_log_set_level(config.log_level);
    lathe_options_visit(options, log_option, NULL);
    if (cli->serve(&config, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    return LATHE_EXIT_OK;
}
