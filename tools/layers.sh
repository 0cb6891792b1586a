#!/bin/sh
# A folder of src/ includes only headers of itself and of folders before it in the list. train and infer are peers:
# neither includes the other. usage: tools/layers.sh "base quant ..."
order=$1
status=0
before=
for layer in $order; do
	before="$before $layer"
	allowed=$before
	[ "$layer" = train ] && allowed=$(echo "$before" | sed 's/ infer / /')
	for file in src/$layer/*.[ch] src/$layer/*/*.[ch]; do
		[ -f "$file" ] || continue
		for dir in $(sed -n 's|^#include "\([a-z0-9_]*\)/.*|\1|p' "$file" | sort -u); do
			case " $allowed " in
			*" $dir "*) ;;
			*) echo "$file: includes $dir/, which stands below $layer"; status=1 ;;
			esac
		done
	done
done
[ $status = 0 ] && echo "layers: every folder includes only what stands above it"
exit $status
