package v1alpha1

// The texts below are aliases: their names carry what the API server checks,
// once for all fields, and who writes Go need not convert.

// A Name is the name of another object of the namespace, or of a subnet.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="want the name of an object: lower case letters, digits, - and ., with a letter or digit at both ends"
type Name = string

// A CIDR is a range of either family, or an address for that address alone.
// Host bits may be set: the text stays as written. 49 characters are the
// longest IPv6 address that ends in dotted decimals, 45, and its /128.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self) || isIP(self)",message="want a CIDR like 10.0.0.0/8 or 2001:db8::/32, or one address; no zone, and no IPv4 in IPv6 clothes"
type CIDR = string

// A Block is a CIDR with its prefix length, for networks.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="want a CIDR with its prefix length, like 10.0.0.0/8 or 2001:db8::/32"
type Block = string

// An Address is a single one that a machine can have for itself.
//
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule="isIP(self) && (ip(self).isGlobalUnicast() || ip(self).isLinkLocalUnicast())",message="want an address that a host can have for itself, like 10.0.0.1 or 2001:db8::1: no range, no loopback, no multicast"
type Address = string

// A Port is a single one, 1 to 65535.
//
// +kubebuilder:validation:Minimum=1
// +kubebuilder:validation:Maximum=65535
type Port = int32

// A PortRange is FIRST/LAST with 1 <= FIRST <= LAST <= 65535. Empty and -1/-1
// mean no ports.
//
// +kubebuilder:validation:MaxLength=11
// +kubebuilder:validation:XValidation:rule="self.size() == 0 || self == '-1/-1' || self.matches('^[1-9][0-9]{0,4}/[1-9][0-9]{0,4}$') && int(self.split('/')[0]) <= int(self.split('/')[1]) && int(self.split('/')[1]) <= 65535",message="want FIRST/LAST from 1 to 65535 with FIRST <= LAST, such as 443/443; or -1/-1 for protocols without ports"
type PortRange = string

// A NetworkBlock is a Block that networks may consist of.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="want a CIDR with its prefix length, like 10.0.0.0/8 or 2001:db8::/32"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || ['127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '::1/128', 'fe80::/10', 'ff00::/8'].all(r, !cidr(r).containsCIDR(self) && !cidr(self).containsCIDR(r))",message="want a range that a network can have: not loopback, link-local or multicast, and none that holds those"
type NetworkBlock = string

// An IPv6Block is a NetworkBlock of IPv6.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self) && self.contains(':')",message="want an IPv6 CIDR with its prefix length, like 2001:db8::/32"
// +kubebuilder:validation:XValidation:rule="!isCIDR(self) || ['::1/128', 'fe80::/10', 'ff00::/8'].all(r, !cidr(r).containsCIDR(self) && !cidr(self).containsCIDR(r))",message="want a range that a network can have: not loopback, link-local or multicast, and none that holds those"
type IPv6Block = string

// A SingleCIDR is one address, alone or as a CIDR with its full length.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isIP(self) || isCIDR(self) && cidr(self).prefixLength() == (self.contains(':') ? 128 : 32)",message="want one address, like 10.0.0.1 or 2001:db8::1, not a range"
type SingleCIDR = string
