# The rule by which nginx's Makefile has cargo build the library that nginx/config names.

# cargo looks for .cargo in the folder that make works in: the one of a tarball, with its crates, is named.
cat << END                                                    >> $NGX_MAKEFILE

.PHONY:	ngx_clerk_proxy_cargo

ngx_clerk_proxy_cargo:
	NGINX_SOURCE_DIR="$PWD" NGINX_BUILD_DIR="$ngx_clerk_proxy_objs" \\
	\$\${CARGO:-cargo} --config "$ngx_addon_dir/../.cargo/config.toml" \\
		rustc --locked --release --lib \\
		--manifest-path "$ngx_addon_dir/../Cargo.toml" \\
		--target-dir "$ngx_clerk_proxy_objs/clerk_proxy" \\
		--no-default-features --crate-type staticlib

$ngx_clerk_proxy_lib:	ngx_clerk_proxy_cargo

$ngx_clerk_proxy_object:	$ngx_clerk_proxy_lib
	ld -r --gc-sections --force-group-allocation -u ngx_http_clerk_proxy_module \\
		-u ngx_http_clerk_proxy_filter_module -o \$@ $ngx_clerk_proxy_lib
	objcopy --keep-global-symbol ngx_http_clerk_proxy_module \\
		--keep-global-symbol ngx_http_clerk_proxy_filter_module \$@

$ngx_clerk_proxy_target:	$ngx_clerk_proxy_needs

END
